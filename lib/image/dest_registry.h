/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inside of image destinations: a repository of a registry. See dest.h. */
#ifndef IMAGE_DEST_REGISTRY_H
#define IMAGE_DEST_REGISTRY_H

#include "lib/base/progress.h"
#include "lib/image/ref.h"
#include "lib/image/uploader.h"

struct dest_registry;

/* Asks the registry, so that what would fail at the end fails now. */
struct dest_registry *dest_registry_open(const struct image_ref *ref, struct error **err);

/* Where blobs wait. */
const char *dest_registry_blob_dir(void);

struct uploader *dest_registry_uploader(struct dest_registry *dest);

/* To be pushed at the commit, in this order. The bytes are copied. */
int dest_registry_add_manifest(struct dest_registry *dest, const void *bytes, size_t size,
	const char *media_type, const struct digest *digest, struct error **err);

/* Blobs, then manifests, then the one that was added last under the tag. */
int dest_registry_commit(
	struct dest_registry *dest, enum progress_mode progress, struct error **err);

void dest_registry_free(struct dest_registry *dest); /* NULL is allowed */

static inline void cleanup_dest_registry_(struct dest_registry **d)
{
	dest_registry_free(*d);
}

#define CLEANUP_DEST_REGISTRY CLEANUP(cleanup_dest_registry_)

#endif
