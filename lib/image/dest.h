/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Where an image is written. Nothing can be seen there until image_dest_commit(), which makes
 * all of it appear at once: blobs first, the reference last.
 */
#ifndef IMAGE_DEST_H
#define IMAGE_DEST_H

#include <jansson.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "lib/base/outfile.h"
#include "lib/image/ref.h"

struct image_dest;

/*
 * Check that `ref` can be written to and get ready: nothing named is created yet. An existing
 * layout is added to; its other images stay.
 */
struct image_dest *image_dest_open(const struct image_ref *ref, struct error **err);

/*
 * A new blob, to be written by the caller; give it back by image_dest_add_blob(). Several threads
 * may call this one; the others are for one thread.
 */
struct outfile *image_dest_new_blob(struct image_dest *dest, struct error **err);

/*
 * Takes `blob` over, also on failure. The bytes must have the digest and size. One that is added
 * twice is stored once.
 */
int image_dest_add_blob(struct image_dest *dest, struct outfile *blob, const struct digest *digest,
	uint64_t size, struct error **err);

/*
 * Publish everything and point the reference's tag at `manifest` (bytes, with its media type).
 * `platform` (may be NULL) goes into the index's descriptor; it stays the caller's. An entry with
 * the same tag is replaced. When it fails, or the process is killed, the layout is as before; what
 * a killed process left is removed by the next image_dest_open() and commit on the same place.
 */
int image_dest_commit(struct image_dest *dest, const void *manifest, size_t manifest_size,
	const char *media_type, json_t *platform, struct digest *manifest_digest,
	struct error **err);

void image_dest_free(struct image_dest *dest);

static inline void cleanup_image_dest_(struct image_dest **d)
{
	image_dest_free(*d);
}

#define CLEANUP_IMAGE_DEST CLEANUP(cleanup_image_dest_)

#endif
