#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Reads compressed blobs (docs/format/image.md) with nothing but struct, hashlib and zstd(1),
and says what is wrong with one. It shares no code with the program that it judges.

    chunk_index.py LAYOUT [TAG]     verifies an image, and prints the frames of its blobs
"""
import hashlib
import json
import mmap
import os
import re
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass

if __name__ == "__main__":
    sys.dont_write_bytecode = True

import oci
import tap
from bootstrap import TABLE, seal

MEDIA_TYPE = "application/vnd.erofs+zstd"
MAGIC, HEADER, ENTRY, SKIPPABLE = b"\xcd\xe4\xec\x67", 32, 48, 8
ROLE, UNCOMPRESSED, LIBZSTD = "org.erofs.role", "org.erofs.uncompressed-digest", "org.erofs.libzstd-version"
RANGE, DIGEST = "org.erofs.chunk-index.range", "org.erofs.chunk-index.digest"
BLOCK, FRAME_MAX = 4096, 16 << 20
ALONE = 40  # so many frames of a blob are also decompressed each by itself


@dataclass
class Frame:
    number: int
    stored_offset: int
    stored_size: int
    offset: int
    size: int
    sha256: bytes

    def stored(self, blob):
        return blob[self.stored_offset:self.stored_offset + self.stored_size]


@dataclass
class Index:
    frames: list
    size: int      # of the uncompressed stream
    begin: int     # of the skippable frame
    end: int

    def frame_at(self, offset):
        return next(f for f in self.frames if f.offset <= offset < f.offset + f.size)


def sha256(data):
    return hashlib.sha256(data).digest()


def decompress(data):
    """What zstd(1) makes of these bytes alone."""
    done = subprocess.run(["zstd", "-q", "-d", "-c"], input=data, capture_output=True)
    tap.expect(done.returncode == 0, "zstd -d refuses it", done.stderr.decode())
    return done.stdout


# --- the index ----------------------------------------------------------------

def parse_payload(payload, frames_end):
    """(Frames, uncompressed size) of header and entries."""
    tap.expect(len(payload) >= HEADER, f"an index of {len(payload)} bytes")
    magic, version, compression, flags, size, count, hash_kind, hash_size, rest = struct.unpack("<4sBBHQIBB10s", payload[:HEADER])
    tap.expect_equal("magic, version, zstd, flags", (MAGIC, 1, 1, 0), (magic, version, compression, flags))
    tap.expect_equal("hash, its size, reserved bytes", (1, 32, bytes(10)), (hash_kind, hash_size, rest))
    tap.expect_equal("length of the index", HEADER + count * ENTRY, len(payload))
    raw = [struct.unpack_from("<QQ32s", payload, HEADER + i * ENTRY) for i in range(count)]
    frames = []
    for i, (stored, offset, digest) in enumerate(raw):
        next_stored, next_offset = raw[i + 1][:2] if i + 1 < count else (frames_end, size)
        tap.expect(i or (stored, offset) == (0, 0), "frame 0 is not at the beginning", (stored, offset))
        tap.expect(stored < next_stored and offset < next_offset, f"frame {i} has no bytes", raw[i][:2], (next_stored, next_offset))
        tap.expect(next_offset - offset <= FRAME_MAX, f"frame {i} has {next_offset - offset} bytes")
        frames.append(Frame(i, stored, next_stored - stored, offset, next_offset - offset, digest))
    return frames, size


def read_index(blob, annotations):
    """The Index that the annotations point to; everything about its own bytes is verified."""
    match = re.fullmatch(r"(0|[1-9][0-9]*):([1-9][0-9]*)", annotations.get(RANGE, ""))
    tap.expect(match, "expected a range offset:end", annotations)
    begin, end = map(int, match.groups())
    tap.expect_equal("end of the index", len(blob), end)
    tap.expect_equal("offset of the index modulo 4", 0, begin % 4)
    magic, length = struct.unpack_from("<II", blob, begin)
    tap.expect(magic & ~0xF == 0x184D2A50, f"expected a skippable frame, seen {magic:#x}")
    tap.expect_equal("length of the skippable frame", end - begin - SKIPPABLE, length)
    payload = blob[begin + SKIPPABLE:end]
    tap.expect_equal("digest of the index", annotations.get(DIGEST), oci.sha256(payload))
    frames, size = parse_payload(payload, begin)
    return Index(frames, size, begin, end)


# --- a frame, by RFC 8878 -------------------------------------------------------

def frame_header(data):
    """(bytes of it, content size or None, dictionary, has a checksum)."""
    magic, descriptor = struct.unpack_from("<IB", data)
    tap.expect_equal("magic of a frame", 0xFD2FB528, magic)
    tap.expect_equal("reserved bit", 0, descriptor & 8)
    single, id_size = descriptor >> 5 & 1, (0, 1, 2, 4)[descriptor & 3]
    size_size = (single, 2, 4, 8)[descriptor >> 6]
    at = 5 + (not single)
    dictionary = data[at:at + id_size]
    at += id_size
    size = int.from_bytes(data[at:at + size_size], "little") + (256 if size_size == 2 else 0) if size_size else None
    return at + size_size, size, dictionary, bool(descriptor & 4)


def frame_length(data):
    """Bytes of the frame that data begins with."""
    at, _, _, checksum = frame_header(data)
    while True:
        header = int.from_bytes(data[at:at + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        tap.expect(kind < 3, "a block of the reserved type")
        at += 3 + (1 if kind == 1 else size)
        tap.expect(at <= len(data), "the frame is cut off")
        if last:
            return at + 4 * checksum


def verify_frame(frame, blob):
    data = frame.stored(blob)
    tap.expect_equal(f"SHA-256 of frame {frame.number}", frame.sha256, sha256(data))
    _, size, dictionary, _ = frame_header(data)
    tap.expect_equal(f"pledged size of frame {frame.number}", frame.size, size)
    tap.expect_equal(f"dictionary of frame {frame.number}", 0, int.from_bytes(dictionary, "little"))
    tap.expect_equal(f"length of frame {frame.number}", len(data), frame_length(data))


# --- a blob ---------------------------------------------------------------------

def decompress_all(path, index, blob):
    """The digest of what `zstd -dc` makes of the file, which must be its frames' contents in
    order; and its first 4 KiB."""
    step = max(1, len(index.frames) // ALONE)
    whole, first = hashlib.sha256(), b""
    with subprocess.Popen(["zstd", "-q", "-d", "-c", path], stdout=subprocess.PIPE) as zstd:
        for frame in index.frames:
            content = zstd.stdout.read(frame.size)
            whole.update(content)
            first = first or content[:BLOCK]
            if frame.number % step == 0 or frame is index.frames[-1]:
                tap.expect(decompress(frame.stored(blob)) == content, f"frame {frame.number} by itself has another content")
        tap.expect_equal("bytes behind the last frame's", b"", zstd.stdout.read())
    tap.expect_equal("status of zstd -dc", 0, zstd.returncode)
    return "sha256:" + whole.hexdigest(), first


def verify_annotations(layer, is_device):
    own = {k: v for k, v in (layer.get("annotations") or {}).items() if k.startswith("org.erofs.")}
    tap.expect_equal("media type", MEDIA_TYPE, layer["mediaType"])
    tap.expect_equal("annotations", {UNCOMPRESSED, RANGE, DIGEST, LIBZSTD} | ({ROLE} if is_device else set()), set(own))
    tap.expect(all(isinstance(v, str) for v in own.values()), "expected strings", own)
    tap.expect(not is_device or own[ROLE] == "device", "expected the role of a device", own)
    tap.expect(re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", own[LIBZSTD]), "expected a version of libzstd", own)
    return own


def verify_layer(image, layer, diff_id, is_device):
    """Everything about one layer; its Index, and the first block of its content."""
    path = image.path(layer)
    own = verify_annotations(layer, is_device)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as blob:
        tap.expect_equal("size", layer["size"], len(blob))
        tap.expect_equal("digest", layer["digest"], "sha256:" + hashlib.sha256(blob).hexdigest())
        index = read_index(blob, own)
        tap.expect_equal("bytes past the last whole block", 0, index.size % BLOCK)
        for frame in index.frames:
            verify_frame(frame, blob)
        tested = subprocess.run(["zstd", "-q", "-t", path], capture_output=True, text=True)
        tap.expect_equal(f"status of zstd -t ({tested.stderr})", 0, tested.returncode)
        content, first = decompress_all(path, index, blob)
    tap.expect_equal("diff_id", content, diff_id)
    tap.expect_equal(UNCOMPRESSED, content, own[UNCOMPRESSED])
    if is_device:
        tap.expect_equal("size of the first frame", BLOCK, index.frames[0].size)
    return index, first


def slots(block, read):
    """(tag, blocks) of each slot of the device table; read(offset, length) reads the bootstrap."""
    devices, table = struct.unpack_from("<HH", block, 1024 + 86)
    for i in range(devices):
        tag, blocks = struct.unpack("<64sI", read(table * 128 + 128 * i, 68))
        yield tag.rstrip(b"\0").decode(), blocks


def verify_image(image):
    """A whole image (oci.Image): the Index of each layer, in order."""
    diff_ids, layers = image.config["rootfs"]["diff_ids"], image.manifest["layers"]
    tap.expect_equal("number of diff_ids", len(layers), len(diff_ids))
    seen = [verify_layer(image, layer, diff_id, layer is not layers[-1]) for layer, diff_id in zip(layers, diff_ids)]
    firsts = {first for _, first in seen[:-1]}
    tap.expect(len(firsts) <= 1, "the data blobs begin with different blocks")
    for first in firsts:
        verify_empty_image(first)
    tap.expect_equal("versions of libzstd", 1, len({one["annotations"][LIBZSTD] for one in layers}))
    verify_slots(image, [index for index, _ in seen], seen[-1][1])
    for where in (image.config, image.descriptor["platform"]):
        tap.expect("erofs" in where["os.features"], "expected erofs among os.features", where)
    return [index for index, _ in seen]


def verify_empty_image(block):
    """The constant block is an EROFS image of one block, with a superblock and no devices."""
    magic, = struct.unpack_from("<I", block, 1024)
    blocks, = struct.unpack_from("<I", block, 1024 + 36)
    devices, = struct.unpack_from("<H", block, 1024 + 86)
    tap.expect_equal("length, magic, blocks and devices of the first block", (BLOCK, 0xE0F5E1E2, 1, 0), (len(block), magic, blocks, devices))


def verify_slots(image, indexes, first):
    """The bootstrap names each blob by the digest of its stored bytes, with its uncompressed blocks."""
    with open(image.path(image.bootstrap), "rb") as file:
        blob = file.read()

    def read(offset, length):
        found = b""
        while len(found) < length:
            frame = indexes[-1].frame_at(offset + len(found))
            skip = offset + len(found) - frame.offset
            found += decompress(frame.stored(blob))[skip:skip + length - len(found)]
        return found

    want = [(layer["digest"].partition(":")[2], index.size // BLOCK) for layer, index in zip(image.devices, indexes)]
    tap.expect_equal("device slots", want, list(slots(first, read)))


# --- an encoder of its own ---------------------------------------------------------

def encode_frame(data, options=()):
    """zstd(1) pledges the size of a file, not of a pipe."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return subprocess.run(["zstd", "-q", "-c", *options, file.name], check=True, capture_output=True).stdout


def aligned(frame, offset):
    """The frame with empty blocks behind its last one, so that it ends at a multiple of 4."""
    at, _, _, checksum = frame_header(frame)
    end = len(frame) - 4 * checksum
    while True:
        header = int.from_bytes(frame[at:at + 3], "little")
        if header & 1:
            break
        at += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
    count = (offset + len(frame)) % 4
    if not count:
        return frame
    more = b"\0\0\0" * (count - 1) + b"\1\0\0"
    return frame[:at] + bytes([frame[at] & 0xFE]) + frame[at + 1:end] + more + frame[end:]


def encode_index(frames, size):
    """The payload for (stored offset, offset, SHA-256) of each frame."""
    head = struct.pack("<4sBBHQIBB10x", MAGIC, 1, 1, 0, size, len(frames), 1, 32)
    return head + b"".join(struct.pack("<QQ32s", *one) for one in frames)


def encode(parts, options=(), magic=0x184D2A50, forge=lambda payload: payload, with_end=True):
    """(blob, annotations), one frame for each part. forge() changes the index before it is
    digested, the frames or the range."""
    blob, frames, offset = b"", [], 0
    for i, part in enumerate(parts):
        frame = encode_frame(part, options)
        if i == len(parts) - 1:
            frame = aligned(frame, len(blob))
        frames.append((len(blob), offset, sha256(frame)))
        blob, offset = blob + frame, offset + len(part)
    payload = forge(encode_index(frames, offset))
    begin = len(blob)
    blob += struct.pack("<II", magic, len(payload)) + payload
    content = b"".join(parts)
    return blob, {UNCOMPRESSED: oci.sha256(content), RANGE: f"{begin}:{len(blob)}" if with_end else str(begin),
                  DIGEST: oci.sha256(payload), LIBZSTD: "1.5.4"}


def split(data, size):
    """A data blob's parts: the first block, then pieces of that size."""
    return [data[:BLOCK]] + [data[i:i + size] for i in range(BLOCK, len(data), size)]


def compress_image(raw, layout, parts=lambda data: split(data, 65536), change=lambda number, blob, annotations: (blob, annotations), **options):
    """The raw image (oci.Image), compressed by this encoder, in a new layout. parts() cuts a
    layer's bytes; change() may damage layer `number` (-1: the bootstrap) before it is digested."""
    oci.create_layout(layout)
    boot, layers, diff_ids = bytearray(raw.read(raw.bootstrap)), [], []
    for i, one in enumerate(raw.devices):
        blob, own = change(i, *encode(parts(raw.read(one)), **options))
        diff_ids.append(one["digest"])
        layers.append(oci.write_blob(layout, blob, MEDIA_TYPE, annotations={**own, ROLE: "device"}))
        struct.pack_into("64s", boot, TABLE + 128 * i, layers[-1]["digest"].partition(":")[2].encode())
    seal(boot)
    blob, own = change(-1, *encode(parts(bytes(boot)), **options))
    layers.append(oci.write_blob(layout, blob, MEDIA_TYPE, annotations=own))
    config = {**raw.config, "rootfs": {**raw.config["rootfs"], "diff_ids": diff_ids + [oci.sha256(bytes(boot))]}}
    conf = oci.write_blob(layout, oci.as_json(config), oci.OCI_CONFIG)
    made = oci.write_blob(layout, oci.as_json({**raw.manifest, "config": conf, "layers": layers}), oci.OCI_MANIFEST)
    oci.write_index(layout, [{**raw.descriptor, "digest": made["digest"], "size": made["size"]}])
    return oci.Image(layout)


def main():
    image = oci.Image(sys.argv[1], *sys.argv[2:3]) if len(sys.argv) > 2 else only_image(sys.argv[1])
    for layer, index in zip(image.manifest["layers"], verify_image(image)):
        sizes = sorted(frame.size for frame in index.frames)
        print(f"{layer['digest']}  {layer['size']:>11} of {index.size:>11} bytes  {len(sizes):>6} frames of {sizes[0]} to {sizes[-1]}")


def only_image(layout):
    with open(os.path.join(layout, "index.json"), encoding="utf-8") as text:
        entry, = json.load(text)["manifests"]
    return oci.Image(layout, entry["annotations"]["org.opencontainers.image.ref.name"])


if __name__ == "__main__":
    main()
