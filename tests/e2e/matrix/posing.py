# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""An image that lies: its first data blob bears the digest of another image's, and has other bytes, and an index that
fits those."""
import os

import chunk_index
import oci
import tool


def image(at, digest, entries):
    """The OCI layout of such an image, made below `at`."""
    oci.write_image(f"{at}/posing-source", [entries])
    tool.convert(f"oci:{at}/posing-source:t", f"oci:{at}/posing-raw:t")
    write = oci.write_blob

    def write_as(layout, data, media_type, **how):
        made = write(layout, data, media_type, **how)
        if (how.get("annotations") or {}).get(chunk_index.ROLE) == "device":
            os.rename(f"{layout}/blobs/sha256/{made['digest'][7:]}", f"{layout}/blobs/sha256/{digest[7:]}")
            made["digest"] = digest
        return made
    oci.write_blob = write_as
    try:
        chunk_index.compress_image(oci.Image(f"{at}/posing-raw"), f"{at}/posing")
    finally:
        oci.write_blob = write
    return f"{at}/posing"


def put(registry, layout, repository, tag, digest):
    """Into a registry that is in league with it."""
    registry.put_layout(layout, repository, tag)
    with open(f"{layout}/blobs/sha256/{digest[7:]}", "rb") as data:
        registry.blobs[digest] = data.read()
    registry.members[repository].add(digest)
