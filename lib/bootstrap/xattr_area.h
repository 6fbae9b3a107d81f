/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Xattrs as the image has them: what many inodes share stands once in the shared area, the
 * rest behind its inode.
 */
#ifndef BOOTSTRAP_XATTR_AREA_H
#define BOOTSTRAP_XATTR_AREA_H

#include <stddef.h>
#include <stdint.h>

#include "lib/tree/tree.h"

struct xattr_bytes {
	uint8_t *bytes; /* header, shared ids, entries; NULL for none */
	uint32_t size;
};

struct xattr_area {
	uint8_t *shared;
	size_t shared_size; /* bytes */
	struct xattr_bytes *sets; /* by set number; [0] is empty */
	uint32_t n_sets;
};

/* Encode all sets of the tree that inodes use. */
void xattr_area_build(struct xattr_area *area, struct tree *tree);
void xattr_area_free(struct xattr_area *area);

#define CLEANUP_XATTR_AREA CLEANUP(xattr_area_free)

#endif
