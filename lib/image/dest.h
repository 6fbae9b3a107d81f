/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Where an image is written. Nothing can be seen there until image_dest_commit(), which makes
 * all of it appear at once: blobs first, the reference last. A registry gets blobs from the first
 * one on, in the background; but no tag leads to them before the commit.
 */
#ifndef IMAGE_DEST_H
#define IMAGE_DEST_H

#include <jansson.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "lib/base/outfile.h"
#include "lib/base/progress.h"
#include "lib/image/origin.h"
#include "lib/image/ref.h"
#include "lib/image/uploader.h"

struct image_dest;

/*
 * Check that `ref` can be written to and get ready: nothing named is created yet. An existing
 * layout is added to; its other images stay. A registry is asked, so that wrong credentials are
 * known now. Without a tag, registries get "latest".
 */
struct image_dest *image_dest_open(const struct image_ref *ref, struct error **err);

/*
 * For registries, before the first blob: try to mount blobs from that repository instead of sending
 * them; from the one of `source`, if it is of the same registry. Nothing for other destinations.
 */
void image_dest_mount_from(struct image_dest *dest, const char *repository);
void image_dest_mount_from_source(struct image_dest *dest, const struct image_ref *source);

/* How the commit shows its progress where it takes long; none by default. */
void image_dest_show_progress(struct image_dest *dest, enum progress_mode mode);

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

/* A blob as it lies elsewhere, verified where it is copied: not within one layout. */
int image_dest_copy_blob(struct image_dest *dest, const struct origin *from,
	const struct digest *digest, uint64_t size, struct error **err);

/* A manifest that an index, added or committed later, will name; or an index such. */
int image_dest_add_manifest(struct image_dest *dest, const void *bytes, size_t size,
	const char *media_type, const struct digest *digest, struct error **err);

/*
 * How much a registry has got so far; all zero for other destinations. On any thread.
 */
void image_dest_amount(struct image_dest *dest, struct upload_amount *amount);

/*
 * Publish everything and point the reference's tag at `manifest` (bytes, with its media type).
 * `platform` (may be NULL) goes into the index's descriptor; it stays the caller's. An entry with
 * the same tag is replaced. When it fails, or the process is killed, the layout is as before; what
 * a killed process left is removed by the next image_dest_open() and commit on the same place. A
 * registry keeps blobs and manifests without a tag, until it collects its garbage.
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
