# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Reads a bootstrap (docs/format/bootstrap.md) far enough to say what each of its bytes is.

For tests that damage one: it trusts what it reads.
"""
import stat
import struct

BLOCK, SUPER, TABLE, SLOT = 4096, 1024, 1152, 128
SUPER_FIELDS = {"magic": 0, "checksum": 4, "feature_compat": 8, "blkszbits": 12, "sb_extslots": 13, "rootnid": 14, "inos": 16,
                "epoch": 24, "fixed_nsec": 32, "blocks": 36, "meta_blkaddr": 40, "xattr_blkaddr": 44, "uuid": 48,
                "volume_name": 64, "feature_incompat": 80, "compression": 84, "extra_devices": 86, "devt_slotoff": 88,
                "reserved": 90}
COMPACT = {"format": 0, "xattr_icount": 2, "mode": 4, "nlink": 6, "size": 8, "reserved": 12, "i_u": 16, "ino": 20, "uid": 24, "gid": 26,
           "reserved 2": 28}
EXTENDED = {"format": 0, "xattr_icount": 2, "mode": 4, "reserved": 6, "size": 8, "i_u": 16, "ino": 20, "uid": 24, "gid": 28, "mtime": 32,
            "mtime_nsec": 40, "nlink": 44, "reserved 2": 48}


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc


def _crc_table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


_TABLE = list(_crc_table())


def seal(image):
    """Makes the superblock's checksum right again."""
    struct.pack_into("<I", image, SUPER + 4, 0)
    struct.pack_into("<I", image, SUPER + 4, crc32c(image[SUPER:BLOCK]))


class Inode:
    def __init__(self, image, nid, path):
        at = nid * 32
        self.nid, self.path, self.offset = nid, path, at
        form, count, self.mode = struct.unpack_from("<HHH", image, at)
        self.extended, self.layout = form & 1, form >> 1
        self.fields = EXTENDED if self.extended else COMPACT
        self.length = 64 if self.extended else 32
        self.size = struct.unpack_from("<Q" if self.extended else "<I", image, at + 8)[0]
        self.u = struct.unpack_from("<I", image, at + 16)[0]
        self.xattrs = at + self.length
        self.xattrs_size = 12 + 4 * (count - 1) if count else 0
        self.data = self.xattrs + self.xattrs_size
        self.data_size, self.blocks = 0, (0, 0)
        if self.layout == 4:
            self.data += -self.data % 8
            self.chunk = BLOCK << (self.u & 31)
            self.data_size = -(-self.size // self.chunk) * 8
        elif self.size and stat.S_IFMT(self.mode) in (stat.S_IFDIR, stat.S_IFLNK):
            self.data_size = self.size % BLOCK if self.layout == 2 else 0
            self.blocks = (self.u * BLOCK, self.size - self.data_size)

    def field(self, name):
        return self.offset + self.fields[name]

    def device_blocks(self, image):
        """(device, block) of each block of a chunked file."""
        found, per = [], self.chunk // BLOCK if self.layout == 4 else 0
        for i in range(self.data_size // 8 if per else 0):
            _, device, block = struct.unpack_from("<HHI", image, self.data + 8 * i)
            if device:
                left = -(-self.size // BLOCK) - i * per
                found += [(device, block + k) for k in range(min(per, left))]
        return found


class Bootstrap:
    def __init__(self, image):
        self.image = image
        self.devices = struct.unpack_from("<H", image, SUPER + 86)[0]
        self.blocks, _, self.xattr_block = struct.unpack_from("<III", image, SUPER + 36)
        self.inodes, self.names = {}, {}
        self._walk(struct.unpack_from("<H", image, SUPER + 14)[0], b"/")

    def _walk(self, nid, path):
        if path not in (b"/",):
            self.names[path] = nid
        if nid in self.inodes:
            return
        inode = self.inodes[nid] = Inode(self.image, nid, path)
        if not stat.S_ISDIR(inode.mode):
            return
        for name, child in self._names(inode):
            if name not in (b".", b".."):
                self._walk(child, path.rstrip(b"/") + b"/" + name)

    def _names(self, inode):
        start, length = inode.blocks
        pieces = [self.image[at:min(at + BLOCK, start + length)] for at in range(start, start + length, BLOCK)]
        if inode.data_size:
            pieces.append(self.image[inode.data:inode.data + inode.data_size])
        for piece in pieces:
            count = struct.unpack_from("<H", piece, 8)[0] // 12
            starts = [struct.unpack_from("<H", piece, 12 * i + 8)[0] for i in range(count)] + [len(piece)]
            for i in range(count):
                yield piece[starts[i]:starts[i + 1]].rstrip(b"\0"), struct.unpack_from("<Q", piece, 12 * i)[0]

    def inode(self, path):
        return self.inodes[self.names[path] if path != b"/" else min(self.inodes)]

    def regions(self):
        """(what, first byte, bytes), in order; together they are the image."""
        found = [("the first 1024 bytes", 0, SUPER)]
        offsets = sorted(SUPER_FIELDS.items(), key=lambda one: one[1]) + [("end", 128)]
        found += [(f"superblock: {name}", SUPER + at, offsets[i + 1][1] - at) for i, (name, at) in enumerate(offsets[:-1])]
        for i in range(self.devices):
            at = TABLE + SLOT * i
            found += [(f"device slot {i + 1}: {name}", at + off, size) for name, off, size in
                      (("tag", 0, 64), ("blocks", 64, 4), ("uniaddr", 68, 4), ("reserved", 72, 56))]
        for inode in self.inodes.values():
            kind = {stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFREG: "file"}.get(stat.S_IFMT(inode.mode), "special file")
            form = f"{'extended' if inode.extended else 'compact'} inode of a {kind}"
            marks = sorted(inode.fields.values()) + [inode.length]
            names = sorted(inode.fields, key=inode.fields.get)
            found += [(f"{form}: {name}", inode.offset + marks[i], marks[i + 1] - marks[i]) for i, name in enumerate(names)]
            if inode.xattrs_size:
                found.append((f"xattrs of a {kind}", inode.xattrs, inode.xattrs_size))
            if inode.data_size:
                what = "chunk indexes" if inode.layout == 4 else f"inline data of a {kind}"
                found.append((what, inode.data, inode.data_size))
            if inode.blocks[1]:
                found.append((f"blocks of a {kind}", *inode.blocks))
        found += self._shared()
        return sorted(self._with_gaps(found), key=lambda one: one[1])

    def _shared(self):
        end = min([i.blocks[0] for i in self.inodes.values() if i.blocks[1]] + [self.blocks * BLOCK])
        start = self.xattr_block * BLOCK
        used = len(self.image[start:end].rstrip(b"\0"))
        return [("shared xattrs", start, -(-used // 4) * 4)] if used else []

    def _with_gaps(self, found):
        at = 0
        for what, start, size in sorted(found, key=lambda one: one[1]):
            if start > at:
                yield "padding", at, start - at
            assert start >= at, (what, start, at)
            yield what, start, size
            at = start + size
        if at < len(self.image):
            yield "padding", at, len(self.image) - at

    def users(self, device, block=None):
        """Paths of the files with data in a device, or in one block of it; each inode once."""
        return [i.path for i in self.inodes.values()
                if any(d == device and block in (None, b) for d, b in i.device_blocks(self.image))]
