/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A converted image as files that the kernel can mount: raw blobs where they lie, compressed ones
 * inflated into the store.
 */
#ifndef MOUNT_MOUNTABLE_H
#define MOUNT_MOUNTABLE_H

#include "lib/bootstrap/read.h"
#include "lib/image/source.h"
#include "lib/mount/inflate.h"

struct mountable_options {
	const char *store; /* its directory; NULL: the default one */
	uint64_t store_limit; /* bytes that the store may take; 0: no limit but the disk's */
	struct inflate_options inflate;
};

/* Absolute paths; and what the kernel will read in the bootstrap. */
struct mountable {
	char *bootstrap;
	char **devices;
	size_t n_devices;
	struct bootstrap *tree;
	struct digest digest; /* of the bootstrap, as stored */
	/* kept open until the kernel has them, so that nobody evicts them: */
	struct store *store; /* NULL when nothing is compressed */
	struct store_blob **held;
	size_t n_held;
};

/*
 * Find the files, and verify all that the kernel trusts: the bootstrap, and what is inflated. Raw
 * devices' bytes are not read.
 */
int mountable_find(struct mountable *m, struct image_source *src, const struct mountable_options *o,
	struct error **err);
/* Do the paths still name what was found? For mount_request.opened; `m` is the mountable. */
int mountable_check(const void *m, struct error **err);

void mountable_free(struct mountable *m); /* what it holds, not m itself */

#define CLEANUP_MOUNTABLE CLEANUP(mountable_free)

#endif
