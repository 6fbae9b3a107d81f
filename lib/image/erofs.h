/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The manifest and config of a converted image: everything that depends on the draft
 * specification of EROFS image layers (docs/format/image.md) stands here.
 */
#ifndef IMAGE_EROFS_H
#define IMAGE_EROFS_H

#include "lib/base/digest.h"
#include "lib/image/dest.h"
#include "lib/image/source.h"

#define EROFS_MEDIA_TYPE      "application/vnd.erofs"
#define EROFS_MEDIA_TYPE_ZSTD "application/vnd.erofs+zstd"
#define EROFS_ROLE	      "org.erofs.role"
#define EROFS_UNCOMPRESSED    "org.erofs.uncompressed-digest"
#define EROFS_INDEX_RANGE     "org.erofs.chunk-index.range"
#define EROFS_INDEX_DIGEST    "org.erofs.chunk-index.digest"
#define EROFS_LIBZSTD	      "org.erofs.libzstd-version"

/* Where a compressed blob has its chunk index. */
struct erofs_index {
	uint64_t offset, end; /* of the skippable frame, in the blob */
	struct digest digest; /* of its payload */
};

/* One layer of the converted image. */
struct erofs_layer {
	struct digest digest; /* of the blob as stored */
	struct digest diff_id; /* of the uncompressed stream; raw: the same */
	uint64_t size; /* bytes as stored */
	bool zstd; /* compressed, with an index; else raw */
	struct erofs_index index;
	size_t source_layer; /* device: which layer of the source brought its data */
};

struct erofs_image {
	struct erofs_layer *devices; /* in device-table order */
	size_t n_devices;
	struct erofs_layer bootstrap;
	bool with_subject; /* the manifest refers to the source's: original_check() */
};

/*
 * Write config and manifest of `image` for `src` into `dest` and commit. The source's config is
 * kept, but for rootfs.diff_ids, os.features and history: entries whose layer made no device
 * become empty_layer, and one entry is added for the bootstrap.
 */
int erofs_image_commit(const struct erofs_image *image, const struct image_source *src,
	struct image_dest *dest, struct digest *manifest_digest, struct error **err);

/*
 * The same for one image of several: config and manifest into `dest`, without a commit. A new
 * object: the manifest's descriptor for an index, with the platform that the source's index
 * states (else its config), and os.features.
 */
json_t *erofs_image_add(const struct erofs_image *image, const struct image_source *src,
	struct image_dest *dest, struct error **err);

/* Commit an index over such descriptors (an array, which stays the caller's). */
int erofs_index_commit(json_t *manifests, struct image_dest *dest, struct digest *index_digest,
	struct error **err);

/* What a reader finds: devices and bootstrap of a converted image, with their descriptors. */
struct erofs_found {
	const struct image_layer **devices; /* into src->layers */
	size_t n_devices;
	const struct image_layer *bootstrap;
};

/* Fails with a sentence when `src` is no EROFS image in this form (a tar image, say). */
int erofs_image_find(struct erofs_found *found, const struct image_source *src, struct error **err);
void erofs_found_free(struct erofs_found *found);

/* Is the layer compressed? -1 with a sentence when it is neither that nor raw EROFS. */
int erofs_layer_is_zstd(const struct image_layer *l, struct error **err);

/*
 * What a compressed layer's annotations say of its chunk index; the range lies in the blob, is
 * aligned and at its end.
 */
int erofs_layer_index(const struct image_layer *l, struct erofs_index *index, struct error **err);
/*
 * A name for all that they say, by which caches of the blob are kept apart: images may say
 * different things of one blob, and which of them is right is seen only when the index is read.
 */
void erofs_index_name(const struct erofs_index *index, struct digest *name);

#endif
