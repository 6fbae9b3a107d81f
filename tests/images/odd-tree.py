#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Stages of the "umoci" image: a tree with something of every kind.

usage: odd-tree.py first|second|last ROOT     (change the tree; needs root)
       odd-tree.py tar FILE                   (a layer that umoci cannot make)
"""

import io
import os
import random
import stat
import struct
import sys
import tarfile

rng = random.Random(20250101)
NS = 10**9


def acl(*entries):
    """A POSIX ACL as the kernel takes it: (tag, permissions, id) each."""
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, perm, 0xFFFFFFFF if who is None else who)
        for tag, perm, who in entries)


ACCESS = acl((1, 7, None), (2, 5, 1001), (4, 5, None), (16, 7, None), (32, 4, None))
DEFAULT = acl((1, 7, None), (4, 5, None), (8, 6, 2002), (16, 7, None), (32, 0, None))
CAP_NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")


class Tree:
    """Paths below a root, made with few words."""

    def __init__(self, root):
        self.root = os.fsencode(root)

    def at(self, path):
        return os.path.join(self.root, os.fsencode(path))

    def file(self, path, data=b"", mode=0o644, owner=(0, 0)):
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
        with open(self.at(path), "wb") as out:
            out.write(data)
        # The owner first: chown drops setuid.
        os.chown(self.at(path), *owner)
        os.chmod(self.at(path), mode)

    def dir(self, path, mode=0o755, owner=(0, 0)):
        os.makedirs(self.at(path), exist_ok=True)
        os.chown(self.at(path), *owner)
        os.chmod(self.at(path), mode)

    def node(self, path, kind, major=0, minor=0, mode=0o600):
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
        os.mknod(self.at(path), kind | mode, os.makedev(major, minor))
        os.chmod(self.at(path), mode)

    def symlink(self, path, target):
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
        os.symlink(target, self.at(path))

    def link(self, path, old):
        os.link(self.at(old), self.at(path), follow_symlinks=False)

    def xattr(self, path, name, value):
        os.setxattr(self.at(path), name, value, follow_symlinks=False)

    def mtime(self, path, sec, nsec=0):
        os.utime(self.at(path), ns=(0, sec * NS + nsec), follow_symlinks=False)

    def remove(self, path):
        full = self.at(path)
        if os.path.islink(full) or not os.path.isdir(full):
            os.unlink(full)
            return
        for base, dirs, files in os.walk(full, topdown=False):
            for name in files:
                os.unlink(os.path.join(base, name))
            for name in dirs:
                child = os.path.join(base, name)
                (os.unlink if os.path.islink(child) else os.rmdir)(child)
        os.rmdir(full)


def first(t):
    for path in ("usr/bin", "usr/lib", "etc", "tmp", "var/lib", "home/user"):
        t.dir(path)
    t.symlink("bin", "usr/bin")
    t.symlink("lib", "usr/lib")
    t.dir("tmp", 0o1777)
    t.dir("home/user", 0o2750, (1000, 1000))

    t.file("etc/hostname", b"odd\n")
    for size in (0, 1, 4095, 4096, 4097, 8192, 70000, 1 << 20):
        t.file(f"sizes/{size}", rng.randbytes(size))
    t.file("sizes/zeros", bytes(1 << 20))
    t.file("sizes/repeated", rng.randbytes(4096) * 64)
    t.file("sizes/sparse")
    with open(t.at("sizes/sparse"), "r+b") as out:
        out.seek(5 << 20)
        out.write(b"in the middle")
        out.truncate(16 << 20)

    t.file("usr/bin/setuid", b"#!/bin/sh\n", 0o4755)
    t.file("usr/bin/setgid", b"#!/bin/sh\n", 0o2711, (0, 8))
    t.file("etc/secret", b"none may read\n", 0)
    t.file("etc/far-owner", b"x", 0o640, (4294967294, 2147483649))
    t.file("etc/mid-owner", b"x", 0o640, (65536, 65535))

    t.node("odd/fifo", stat.S_IFIFO)
    t.node("odd/null", stat.S_IFCHR, 1, 3, 0o666)
    t.node("odd/large", stat.S_IFCHR, 4095, 1048575)
    t.node("odd/disk", stat.S_IFBLK, 259, 300)

    t.file("links/a", b"three names\n")
    t.link("links/b", "links/a")
    t.dir("links/below")
    t.link("links/below/c", "links/a")
    t.symlink("links/s1", "a")
    t.link("links/s2", "links/s1")
    t.link("links/null", "odd/null")
    t.link("links/fifo", "odd/fifo")
    for i in range(300):
        t.link(f"links/many-{i}", "sizes/4097")
    t.symlink("links/dangling", "/no/such/thing")
    t.symlink("links/long", "long/" * 300 + "end")
    t.symlink("links/longest", "x" * 4095)

    t.file("xattr/user", b"x")
    t.xattr("xattr/user", "user.comment", b"hello")
    t.xattr("xattr/user", "user.empty", b"")
    t.xattr("xattr/user", "user.binary", bytes(range(256)))
    t.file("xattr/capability", b"x", 0o755)
    t.xattr("xattr/capability", "security.capability", CAP_NET_RAW)
    t.file("xattr/acl", b"x")
    t.xattr("xattr/acl", "system.posix_acl_access", ACCESS)
    t.dir("xattr/default")
    t.xattr("xattr/default", "system.posix_acl_default", DEFAULT)
    t.xattr("xattr/default", "user.on-dir", b"1")
    t.file("xattr/trusted", b"x")
    t.xattr("xattr/trusted", "trusted.thing", b"t")
    for i in range(20):
        t.file(f"xattr/shared-{i}", b"x")
        t.xattr(f"xattr/shared-{i}", "user.same", b"the same for all of them")

    t.file("names/with space", b"1")
    t.file("names/ünïcödé-名前", b"2")
    t.file("names/" + "n" * 255, b"3")
    t.file("names/-dash", b"4")
    t.file("names/back\\slash", b"5")
    t.file("/".join(["names"] + ["deep"] * 60 + ["file"]).lstrip("/"), b"6")

    for i in range(3000):
        t.file(f"crowd/{i:05}", b"%d\n" % (i % 50))

    for base in ("gone/whole/dir", "gone/partly", "to-file/dir", "to-link/dir", "opaque/below", "meta/dir"):
        t.dir(base)
        t.file(base + "/file", base.encode())
    t.file("gone/file", b"x")
    t.file("gone/partly/keep", b"x")
    t.file("to-dir", b"x")
    t.symlink("link-to-dir", "meta")
    t.file("again", b"old")
    t.file("linked-later", b"from the first layer")
    t.file("meta/chmod", b"same content")

    for i, sec in enumerate((0, 1, 2**31 - 1, 2**31, 2**32 + 5, 2**33, 1735689600)):
        t.file(f"times/{i}", b"x")
        t.mtime(f"times/{i}", sec)
    t.file("times/past", b"x")
    t.mtime("times/past", -86400 * 365)
    t.mtime("meta/dir", 1000000000)
    t.mtime("etc", 1234567890, 987654321)
    t.mtime("usr/bin/setuid", 1234567890, 1)


def second(t):
    t.remove("gone/whole")
    t.remove("gone/file")
    t.remove("gone/partly/file")
    t.remove("to-file/dir")
    t.file("to-file/dir", b"a file now")
    t.remove("to-link/dir")
    t.symlink("to-link/dir", "../meta")
    t.remove("to-dir")
    t.file("to-dir/inside", b"a directory now")
    t.remove("link-to-dir")
    t.dir("link-to-dir", 0o700)
    t.file("link-to-dir/own", b"x")
    t.file("again", b"new")
    t.link("linked-now", "linked-later")
    os.chmod(t.at("meta/chmod"), 0o600)
    os.chmod(t.at("meta/dir"), 0o511)
    os.chown(t.at("meta/dir"), 7, 8)
    t.mtime("meta/dir", 1111111111)
    t.xattr("meta/dir", "user.upper", b"yes")
    t.remove("links/below/c")
    t.file("usr/lib/libnew.so", rng.randbytes(10000))
    os.rename(t.at("names/-dash"), t.at("names/renamed"))


def last(t):
    t.file("opaque/below/after", b"above the opaque directory")
    t.remove("implied/by/a")
    os.chmod(t.at("crowd"), 0o711)
    t.file("sizes/1", b"!")


def tar(path):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        def add(name, kind=tarfile.REGTYPE, data=b"", link="", mode=0o644, mtime=1700000000,
                owner=(0, 0), **pax):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mode, info.linkname = kind, len(data), mode, link
            info.uid, info.gid = owner
            info.mtime = int(float(mtime))
            info.pax_headers = {key.replace("__", "."): value for key, value in pax.items()}
            if isinstance(mtime, str):
                info.pax_headers["mtime"] = mtime
            out.addfile(info, io.BytesIO(data))

        # Markers hide lower layers only, wherever they stand in their own.
        add("opaque/before", data=b"before the marker")
        add("opaque/.wh..wh..opq")
        add("opaque/below/", tarfile.DIRTYPE, mode=0o750, mtime="1600000000.123456789")
        add("opaque/below/new", data=b"new")
        add("gone/.wh.partly")
        # Parents that no layer names, and one that is a symlink below.
        add("implied/by/a/file", data=b"x", mtime="1600000000.000000001")
        add("implied/by/b/file", data=b"y", mtime="1600000000.999999999")
        add("lib/through-a-link", data=b"lands in usr/lib")
        add("./etc/dotted", data=b"x", mode=0o600)
        # Times with nanoseconds, before 1970 and after 2106; ext4, where the reference
        # is unpacked, ends in 2446.
        add("times/nano", data=b"x", mtime="1712345678.123456789")
        add("times/before", data=b"x", mtime="-1.5")
        add("times/early", data=b"x", mtime="-2000000000.25")
        add("times/late", data=b"x", mtime="5000000000.5")
        add("times/dir/", tarfile.DIRTYPE, mode=0o1755, mtime="1712345678.5")
        add("times/link", tarfile.SYMTYPE, link="nano", mode=0o777, mtime="1712345678.25")
        # Links: to this layer's files, to lower ones, to a symlink, to a device.
        add("links/new", data=b"linked in the tar")
        add("links/new-too", tarfile.LNKTYPE, link="links/new")
        add("links/lower", tarfile.LNKTYPE, link="sizes/70000")
        add("links/symlink", tarfile.LNKTYPE, link="links/dangling")
        add("links/disk", tarfile.LNKTYPE, link="odd/disk")
        # The last of several wins.
        add("twice", data=b"first")
        add("twice", data=b"second, and longer")
        # A GNU sparse file, version 1.0: the map stands before the data.
        data = rng.randbytes(1536)
        table = b"2\n1048576\n1024\n3145728\n512\n".ljust(512, b"\0")
        add("GNUSparseFile.0/sparse", data=table + data, GNU__sparse__major="1", GNU__sparse__minor="0",
            GNU__sparse__name="sizes/sparse-tar", GNU__sparse__realsize="4194304")
        # Names need not be UTF-8.
        add(b"names/latin-\xe9".decode("utf-8", "surrogateescape"), data=b"x")
        add("xattr/tar", data=b"x", SCHILY__xattr__user__tar="from a header",
            SCHILY__xattr__trusted__tar="too")
        # Parts of directories that an upper layer changes, by an entry.
        add("crowd/", tarfile.DIRTYPE, mode=0o700, mtime="1650000000.75", owner=(12, 13))


def main():
    stages = {"first": first, "second": second, "last": last}
    if len(sys.argv) != 3 or sys.argv[1] not in (*stages, "tar"):
        sys.exit(__doc__)
    os.umask(0o022)
    if sys.argv[1] == "tar":
        tar(sys.argv[2])
    else:
        stages[sys.argv[1]](Tree(sys.argv[2]))


if __name__ == "__main__":
    main()
