/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * An OCI image layout (image-spec, image-layout.md): oci-layout, index.json and
 * blobs/ALGORITHM/HEX, in a directory or a tar. What reading one and adding to one share.
 */
#ifndef IMAGE_LAYOUT_H
#define IMAGE_LAYOUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "lib/image/bundle.h"

#define MEDIA_TYPE_OCI_INDEX	   "application/vnd.oci.image.index.v1+json"
#define MEDIA_TYPE_OCI_MANIFEST	   "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_TYPE_OCI_CONFIG	   "application/vnd.oci.image.config.v1+json"
#define MEDIA_TYPE_DOCKER_LIST	   "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_TYPE_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_TYPE_DOCKER_CONFIG   "application/vnd.docker.container.image.v1+json"

#define ANNOTATION_REF_NAME "org.opencontainers.image.ref.name"

#define LAYOUT_FILE    "oci-layout"
#define LAYOUT_VERSION "{\"imageLayoutVersion\":\"1.0.0\"}"
#define INDEX_FILE     "index.json"

/* A manifest or config: as much as registries take. An index.json grows with every tag. */
#define MANIFEST_MAX_BYTES (4u << 20)
#define INDEX_MAX_BYTES	   (16u << 20)

/* A descriptor's members, still owned by the JSON they were read from. */
struct descriptor {
	const char *media_type;
	struct digest digest;
	uint64_t size;
	json_t *annotations; /* or NULL */
};

/* Strict: mediaType, digest and size are required. Embedded `data` is not looked at. */
int descriptor_parse(struct descriptor *d, const json_t *json, struct error **err);

/* The value of an annotation on a descriptor, or NULL; never an error. */
const char *descriptor_annotation(const json_t *descriptor, const char *key);

bool media_type_is_index(const char *media_type);
bool media_type_is_manifest(const char *media_type);

/* Is there a layout of the version we know? */
int layout_check(const struct bundle *where, struct error **err);

/* The index, with "manifests" an array (perhaps empty). NULL on error. */
json_t *layout_read_index(const struct bundle *where, struct error **err);

/* "DIR/blobs/ALGORITHM" and "DIR/blobs/ALGORITHM/HEX"; the caller frees them. */
char *layout_blob_dir(const char *dir, enum digest_algo algo);
char *layout_blob_path(const char *dir, const struct digest *d);

/* Open a blob, whatever its size; or one that must have this size. */
int layout_find_blob(const struct bundle *where, const struct digest *d, struct file_range *r,
	struct error **err);
int layout_open_blob(const struct bundle *where, const struct digest *d, uint64_t size,
	struct file_range *r, struct error **err);

/*
 * A manifest, index or config: read, verified by size and digest; d->size bytes and a NUL behind,
 * which the caller frees.
 */
char *layout_read_bytes(const struct bundle *where, const struct descriptor *d, struct error **err);

/* The same, parsed. `what` is for errors ("manifest"). */
json_t *layout_read_object(const struct bundle *where, const struct descriptor *d, const char *what,
	struct error **err);

#endif
