#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Change how the layers of one image in an OCI layout are compressed.

usage: recompress.py DIR:TAG WHICH=none|gzip|zstd ...

WHICH is a layer's number, from 0, or what it is compressed with now. Only the
manifest and the index change besides the layers: the uncompressed bytes,
and with them the config's diff_ids, stay. This exists because umoci 0.4.7
neither writes nor reads zstd, and skopeo 1.9 does not write it into a layout.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile

BASE = "application/vnd.oci.image.layer.v1.tar"
MEDIA_TYPE = {"none": BASE, "gzip": BASE + "+gzip", "zstd": BASE + "+zstd"}
KIND = {
    **{media_type: kind for kind, media_type in MEDIA_TYPE.items()},
    "application/vnd.docker.image.rootfs.diff.tar": "none",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
}
DECOMPRESS = {"none": ["cat"], "gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dcq"]}
COMPRESS = {"none": ["cat"], "gzip": ["gzip", "-nc"], "zstd": ["zstd", "-cq", "-3"]}
# Several zstd frames and gzip members in one layer are legal, and some tools
# write them: so does this one, to have them read.
PIECE = 32 << 20


def blob_path(layout, digest):
    return os.path.join(layout, "blobs", *digest.split(":", 1))


def put(layout, data):
    """Store bytes as a blob; its digest and size."""
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    path = blob_path(layout, digest)
    if not os.path.exists(path):
        with open(path + ".tmp", "wb") as out:
            out.write(data)
        os.rename(path + ".tmp", path)
    return {"digest": digest, "size": len(data)}


def recompress(layout, layer, kind):
    """Write the layer again, compressed as `kind`; its new descriptor."""
    with open(blob_path(layout, layer["digest"]), "rb") as source, \
            tempfile.NamedTemporaryFile(dir=os.path.join(layout, "blobs"), delete=False) as out:
        reader = subprocess.Popen(
            DECOMPRESS[KIND[layer["mediaType"]]], stdin=source, stdout=subprocess.PIPE)
        while piece := reader.stdout.read(PIECE):
            subprocess.run(COMPRESS[kind], input=piece, stdout=out, check=True)
        if reader.wait() != 0:
            sys.exit(f"recompress.py: cannot decompress {layer['digest']}")
    sha = hashlib.sha256()
    with open(out.name, "rb") as written:
        while chunk := written.read(1 << 20):
            sha.update(chunk)
        size = written.tell()
    digest = "sha256:" + sha.hexdigest()
    os.chmod(out.name, 0o644)
    os.rename(out.name, blob_path(layout, digest))
    return {**layer, "mediaType": MEDIA_TYPE[kind], "digest": digest, "size": size}


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    layout, _, tag = sys.argv[1].rpartition(":")
    with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
        index = json.load(file)
    entry = next(
        (m for m in index["manifests"]
         if m.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag), None)
    if entry is None:
        sys.exit(f"recompress.py: no tag {tag} in {layout}")
    with open(blob_path(layout, entry["digest"]), encoding="utf-8") as file:
        manifest = json.load(file)

    layers = manifest["layers"]
    old = set()
    for order in sys.argv[2:]:
        which, _, kind = order.partition("=")
        for i, layer in enumerate(layers):
            now = KIND[layer["mediaType"]]
            if which in (str(i), now) and kind != now:
                old.add(layer["digest"])
                layers[i] = recompress(layout, layer, kind)
    old.add(entry["digest"])
    entry.update(put(layout, json.dumps(manifest, separators=(",", ":")).encode()))
    with open(os.path.join(layout, "index.json.tmp"), "w", encoding="utf-8") as file:
        json.dump(index, file, separators=(",", ":"))
    os.rename(os.path.join(layout, "index.json.tmp"), os.path.join(layout, "index.json"))
    # Other images of the layout may use the old blobs: then they stay.
    if len(index["manifests"]) == 1:
        for digest in old - {entry["digest"]} - {layer["digest"] for layer in layers}:
            os.unlink(blob_path(layout, digest))


if __name__ == "__main__":
    main()
