/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * An image to read: manifest, config and layers, wherever they lie.
 */
#ifndef IMAGE_SOURCE_H
#define IMAGE_SOURCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "lib/image/platform.h"
#include "lib/image/ref.h"
#include "lib/stream/stream.h"

struct image_layer {
	char *media_type;
	struct digest digest; /* of the bytes as stored */
	uint64_t size; /* of the bytes as stored */
	struct digest diff_id; /* of the uncompressed tar */
	bool has_digest; /* false for tar: sources, which state nothing to verify against */
	bool has_diff_id;
	json_t *annotations; /* an object, or NULL */
	char *name; /* for messages: "layer 3 (sha256:ab12...)" or the file's name */
};

struct image_source {
	struct image_ref ref;
	json_t *manifest; /* the image manifest, an object; for tar: a made-up one */
	json_t *config; /* the image config, an object */
	struct digest manifest_digest; /* as found (all zero for tar:) */
	uint64_t manifest_size;
	char *manifest_media_type;
	struct image_layer *layers; /* lowest first */
	size_t n_layers;
	char *platform_text; /* "linux/amd64", for messages */
	bool stdin_used; /* tar:- can be opened once */
};

/*
 * Open what `ref` names. In a layout, a tag that is not there, or none where there are several
 * images, is an error that lists the tags. Indexes are descended by platform; `wanted` NULL
 * takes this machine's, or the only one there is. Manifest and config are size-limited (4 MiB,
 * as registries do) and verified by digest. Only image manifests (OCI or Docker schema 2).
 * Layers must be there and have their size; their bytes are not read. An error begins with the
 * reference. A tar: source has no platform of its own and takes `wanted`, or this machine's.
 */
struct image_source *image_source_open(
	const struct image_ref *ref, const struct platform *wanted, struct error **err);

/* The bytes of layer i as they are stored (compressed); verifying them is the reader's part. */
struct stream *image_source_open_layer(struct image_source *src, size_t i, struct error **err);

/* Where a layout keeps the blob, as a path (caller frees); an error elsewhere than in oci:. */
char *image_source_blob_path(struct image_source *src, const struct digest *d, struct error **err);

void image_source_free(struct image_source *src);

static inline void cleanup_image_source_(struct image_source **s)
{
	image_source_free(*s);
}

#define CLEANUP_IMAGE_SOURCE CLEANUP(cleanup_image_source_)

#endif
