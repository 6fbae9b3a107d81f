# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Writes OCI image layouts from lists of tar entries, byte by byte.

Nothing here uses a tar library: the tests need headers that no library writes
(arbitrary PAX records, names of any bytes, wrong sizes, base-256 numbers).
Entries default to owner 7:8 and one fixed mtime, so that a directory which
nobody named (0755 root:root, mtime 0) cannot be taken for one that was.
"""
import gzip
import hashlib
import json
import os
import subprocess

UID, GID, MTIME = 7, 8, 1234567890

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


def to_bytes(name):
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")


# --- tar ----------------------------------------------------------------------

def octal(value, width):
    return b"%0*o\0" % (width - 1, value)


def base256(value, width):
    raw = value.to_bytes(width, "big", signed=True)
    return bytes([raw[0] | 0x80]) + raw[1:]


def header(name=b"", mode=0o644, uid=0, gid=0, size=0, mtime=0, typeflag=b"0", link=b"",
           magic=b"ustar\x0000", uname=b"", gname=b"", major=0, minor=0, prefix=b""):
    """One header block. Numbers are ints (octal, or base-256 where that is too narrow) or raw bytes."""
    def number(value, width):
        if isinstance(value, bytes):
            return value.ljust(width, b"\0")
        fits = 0 <= value < 8 ** (width - 1)
        return octal(value, width) if fits else base256(value, width)

    block = b"".join([
        name[:100].ljust(100, b"\0"), number(mode, 8), number(uid, 8), number(gid, 8),
        number(size, 12), number(mtime, 12), b" " * 8, typeflag, link[:100].ljust(100, b"\0"),
        magic, uname.ljust(32, b"\0"), gname.ljust(32, b"\0"),
        number(major, 8) if magic.strip(b"\0") else b"\0" * 8,
        number(minor, 8) if magic.strip(b"\0") else b"\0" * 8,
        prefix.ljust(155, b"\0")]).ljust(512, b"\0")
    assert len(block) == 512, len(block)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data):
    return data + b"\0" * (-len(data) % 512)


def pax_record(key, value):
    body = b" " + to_bytes(key) + b"=" + to_bytes(value) + b"\n"
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


def pax_block(records, typeflag=b"x"):
    """An extended header ('x') or a global one ('g') with these records, in order."""
    data = b"".join(pax_record(k, v) for k, v in records)
    return header(b"PaxHeaders/x", size=len(data), typeflag=typeflag) + padded(data)


def gnu_long(kind, value):
    data = value + b"\0"
    return header(b"././@LongLink", size=len(data), typeflag=kind, magic=b"ustar  \0") + padded(data)


def pax_time(ns):
    sign = "-" if ns < 0 else ""
    seconds, rest = divmod(abs(ns), 10 ** 9)
    return f"{sign}{seconds}.{rest:09d}" if rest else f"{sign}{seconds}"


FORMATS = {"pax": b"ustar\x0000", "ustar": b"ustar\x0000", "gnu": b"ustar  \0", "v7": b"\0" * 8}


def entry(name, typeflag, data=b"", mode=0o644, uid=UID, gid=GID, mtime=MTIME, ns=None, link=b"",
          major=0, minor=0, xattrs=None, pax=(), fmt="pax", size=None):
    """One member, as bytes. What the header cannot say goes to PAX records (or, with
    fmt='gnu', to long-name members and base-256 numbers). `ns` is an mtime in nanoseconds."""
    name, link = to_bytes(name), to_bytes(link)
    records = []
    before, head_name, head_link, prefix = b"", name, link, b""
    if fmt == "gnu":
        if len(name) > 100:
            before += gnu_long(b"L", name)
        if len(link) > 100:
            before += gnu_long(b"K", link)
    elif fmt == "ustar" and len(name) > 100:
        cut = name.rindex(b"/", 0, 156)
        prefix, head_name = name[:cut], name[cut + 1:]
        assert len(head_name) <= 100
    elif fmt == "pax":
        if len(name) > 100:
            records.append(("path", name))
        if len(link) > 100:
            records.append(("linkpath", link))
        for key, value in (("uid", uid), ("gid", gid)):
            if isinstance(value, int) and value >= 8 ** 7:
                records.append((key, str(value)))
        uid, gid = (0 if isinstance(v, int) and v >= 8 ** 7 else v for v in (uid, gid))
    if ns is not None:
        records.append(("mtime", pax_time(ns)))
        mtime = max(0, min(ns // 10 ** 9, 8 ** 11 - 1))
    elif fmt == "pax" and isinstance(mtime, int) and not 0 <= mtime < 8 ** 11:
        records.append(("mtime", str(mtime)))
        mtime = 0
    records += [("SCHILY.xattr." + k, v) for k, v in (xattrs or {}).items()]
    records += pax
    if records:
        before += pax_block(records)
    head = header(head_name, mode=mode, uid=uid, gid=gid, size=len(data) if size is None else size,
                  mtime=mtime, typeflag=typeflag, link=head_link, magic=FORMATS[fmt],
                  major=major, minor=minor, prefix=prefix)
    return before + head + padded(data)


def file(name, data=b"", **kw):
    return entry(name, b"0", data=data, **kw)


def directory(name, mode=0o755, **kw):
    name = to_bytes(name)
    return entry(name if name.endswith(b"/") else name + b"/", b"5", mode=mode, **kw)


def symlink(name, target, mode=0o777, **kw):
    return entry(name, b"2", link=target, mode=mode, **kw)


def hardlink(name, target, **kw):
    return entry(name, b"1", link=target, **kw)


def char(name, major, minor, **kw):
    return entry(name, b"3", major=major, minor=minor, **kw)


def block(name, major, minor, **kw):
    return entry(name, b"4", major=major, minor=minor, **kw)


def fifo(name, **kw):
    return entry(name, b"6", **kw)


def whiteout(name, **kw):
    head, _, tail = to_bytes(name).rpartition(b"/")
    return entry((head + b"/" if head else b"") + b".wh." + tail, b"0", **kw)


def opaque(name, **kw):
    name = to_bytes(name)
    return entry((name + b"/" if name else b"") + b".wh..wh..opq", b"0", **kw)


END = b"\0" * 1024


def tar(entries):
    """A whole archive. Bytes pass as they are, lists of entries are joined and closed."""
    return entries if isinstance(entries, bytes) else b"".join(entries) + END


# --- compression --------------------------------------------------------------

def pieces(data, count):
    step = max(1, -(-len(data) // count))
    return [data[i:i + step] for i in range(0, len(data), step)] or [b""]


def gzip_members(data, count=1, level=6):
    return b"".join(gzip.compress(p, level, mtime=0) for p in pieces(data, count))


def zstd_frames(data, count=1):
    return b"".join(subprocess.run(["zstd", "-q", "-c", "-3", "--check"], input=p, check=True,
                                   capture_output=True).stdout for p in pieces(data, count))


ZSTD_SKIPPABLE = b"\x50\x2a\x4d\x18\x05\x00\x00\x00hello"


class Layer:
    """A layer: tar entries (or raw tar bytes), how they are packed, and what is said of them.

    blob, diff_id, size, digest and media_type can be overridden to tell lies."""

    def __init__(self, entries, packing="plain", parts=1, family=OCI_LAYER, blob=None, diff_id=None,
                 size=None, digest=None, media_type=None):
        self.tar = tar(entries)
        suffix = {"plain": "", "gzip": "+gzip", "zstd": "+zstd"}[packing]
        if family == DOCKER_LAYER:
            suffix = suffix.replace("+", ".")
        self.media_type = media_type or family + suffix
        if blob is None:
            blob = {"plain": lambda t, n: t, "gzip": gzip_members, "zstd": zstd_frames}[packing](self.tar, parts)
        self.blob = blob
        self.diff_id = diff_id or sha256(self.tar)
        self.size, self.digest = size, digest


# --- layout -------------------------------------------------------------------

def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def as_json(value):
    return json.dumps(value, separators=(",", ":")).encode()


def blob_path(layout, digest):
    return os.path.join(layout, "blobs", *digest.split(":", 1))


def write_blob(layout, data, media_type, **members):
    """Stores the blob and gives its descriptor; members override or add to it."""
    digest = sha256(data)
    with open(blob_path(layout, digest), "wb") as out:
        out.write(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data),
            **{k: v for k, v in members.items() if v is not None}}


def create_layout(layout):
    os.makedirs(os.path.join(layout, "blobs", "sha256"), exist_ok=True)
    with open(os.path.join(layout, "oci-layout"), "w") as out:
        out.write('{"imageLayoutVersion":"1.0.0"}')
    if not os.path.exists(os.path.join(layout, "index.json")):
        write_index(layout, [])


def write_index(layout, manifests):
    with open(os.path.join(layout, "index.json"), "wb") as out:
        out.write(as_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}))


def read_json(path):
    with open(path, "rb") as text:
        return json.load(text)


def read_index(layout):
    return read_json(os.path.join(layout, "index.json"))


def config_of(layers, **members):
    config = {"created": "2020-02-02T02:02:02Z", "architecture": "amd64", "os": "linux",
              "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
              "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
              "history": [{"created": "2020-02-02T02:02:02Z", "created_by": f"layer {i}"}
                          for i in range(len(layers))]}
    config.update(members)
    return {k: v for k, v in config.items() if v is not None}


def write_image(layout, layers, tag="t", docker=False, config=None, manifest=None, platform=None, add=True):
    """Adds an image to the layout and gives its manifest's descriptor.

    `config` and `manifest` are dicts of members to override; None removes one."""
    create_layout(layout)
    layers = [one if isinstance(one, Layer) else Layer(one) for one in layers]
    described = [write_blob(layout, one.blob, one.media_type, size=one.size, digest=one.digest)
                 for one in layers]
    conf = write_blob(layout, as_json(config_of(layers, **(config or {}))),
                      DOCKER_CONFIG if docker else OCI_CONFIG)
    kind = DOCKER_MANIFEST if docker else OCI_MANIFEST
    members = {"schemaVersion": 2, "mediaType": kind, "config": conf, "layers": described,
               **(manifest or {})}
    made = write_blob(layout, as_json({k: v for k, v in members.items() if v is not None}), kind,
                      platform=platform,
                      annotations={"org.opencontainers.image.ref.name": tag} if tag else None)
    if add:
        rest = [m for m in read_index(layout)["manifests"]
                if (m.get("annotations") or {}).get("org.opencontainers.image.ref.name") != tag]
        write_index(layout, rest + [made])
    return made


# --- reading a result ---------------------------------------------------------

class Image:
    """A converted image in a layout: its manifest, config and layers."""

    def __init__(self, layout, tag="t"):
        self.layout = layout
        found = [m for m in read_index(layout)["manifests"]
                 if (m.get("annotations") or {}).get("org.opencontainers.image.ref.name") == tag]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} entries of index.json have the tag {tag}")
        self.descriptor = found[0]
        if self.descriptor["mediaType"] == OCI_INDEX:
            inner = json.loads(self.read(self.descriptor))["manifests"]
            self.descriptor = [m for m in inner
                               if "erofs" in m.get("platform", {}).get("os.features", [])][0]
        self.manifest_bytes = self.read(self.descriptor)
        self.manifest = json.loads(self.manifest_bytes)
        self.config = json.loads(self.read(self.manifest["config"]))
        *self.devices, self.bootstrap = self.manifest["layers"]

    def path(self, descriptor):
        return blob_path(self.layout, descriptor["digest"])

    def read(self, descriptor):
        with open(self.path(descriptor), "rb") as data:
            return data.read()
