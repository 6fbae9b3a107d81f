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
#include "lib/image/bundle.h"
#include "lib/image/platform.h"
#include "lib/image/ref.h"
#include "lib/image/remote.h"
#include "lib/stream/stream.h"

struct image_layer {
	char *media_type;
	struct digest digest; /* of the bytes as stored */
	uint64_t size; /* of the bytes as stored */
	struct digest diff_id; /* of the uncompressed tar */
	bool has_digest; /* false for tar: and docker-archive:, which state none */
	bool has_diff_id;
	json_t *annotations; /* an object, or NULL */
	char *file; /* tar: and docker-archive: where it lies; else NULL */
	char *name; /* for messages: "layer 3 (sha256:ab12...)" or the file's name */
};

struct image_source {
	struct image_ref ref;
	struct archive *archive; /* of the transports that are one, else NULL */
	struct remote *remote; /* of docker://, else NULL */
	json_t *manifest; /* an object; made up for tar: and docker-archive: */
	json_t *config; /* the image config, an object */
	struct digest manifest_digest; /* as found (all zero for a made-up one) */
	uint64_t manifest_size;
	char *manifest_media_type;
	struct image_layer *layers; /* lowest first */
	size_t n_layers;
	json_t *platform; /* what an index says of it, an object, or NULL */
	json_t *attestations; /* descriptors of those that its index lists, an array, or NULL */
	char *platform_text; /* "linux/amd64", for messages */
	bool stdin_used; /* tar:- can be opened once */
};

/*
 * Open what `ref` names. In a layout, a tag that is not there, or none where there are several
 * images, is an error that lists the tags. Indexes are descended by platform; `wanted` NULL
 * takes this machine's, or the only one there is; attestations and the like are skipped, with
 * one line that says so. Manifest and config are size-limited (4 MiB, as registries do) and
 * verified by digest. Only image manifests (OCI or Docker schema 2). Layers must be there and
 * have their size; their bytes are not read. An error begins with the reference. A tar: source
 * has no platform of its own and takes `wanted`, or this machine's.
 */
struct image_source *image_source_open(
	const struct image_ref *ref, const struct platform *wanted, struct error **err);

/*
 * For readers of converted images: where an index has both for a platform, the EROFS one. Layers
 * may be missing or have another size: who opens them is told, and `check` tells of all of them.
 */
struct image_source *image_source_open_converted(
	const struct image_ref *ref, const struct platform *wanted, struct error **err);

/* The images of an index, for all platforms. */
struct image_list {
	struct image_source **v;
	size_t n;
};

/*
 * Every image for Linux that is no converted one already, in the order of the source's index;
 * the others are skipped, with one line that says so. What is no index is a list of one.
 */
int image_list_open(struct image_list *list, const struct image_ref *ref, struct error **err);
void image_list_free(struct image_list *list); /* what it holds, not list itself */

#define CLEANUP_IMAGE_LIST CLEANUP(image_list_free)

/* The bytes of layer i as they are stored (compressed); verifying them is the reader's part. */
struct stream *image_source_open_layer(struct image_source *src, size_t i, struct error **err);

/*
 * Open a blob, a manifest or a config by its digest, where the source keeps them so. Of a layout,
 * in a directory or an archive, neither its size nor its bytes are verified. Of a registry it must
 * be one of the image's own; it is fetched whole and verified, once. The error has the code ENOENT
 * when it is not there.
 */
int image_source_open_blob(
	struct image_source *src, const struct digest *d, struct file_range *r, struct error **err);

/* Where a layout keeps the blob, as a path (caller frees); an error elsewhere than in oci:. */
char *image_source_blob_path(struct image_source *src, const struct digest *d, struct error **err);

void image_source_free(struct image_source *src);

static inline void cleanup_image_source_(struct image_source **s)
{
	image_source_free(*s);
}

#define CLEANUP_IMAGE_SOURCE CLEANUP(cleanup_image_source_)

#endif
