/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The tree that the tar layers of a source make, with a digest of each file's content: read one
 * layer after the other, without any of lib/convert, so that it can bear witness against it.
 */
#ifndef VERIFY_SOURCE_TREE_H
#define VERIFY_SOURCE_TREE_H

#include <stdatomic.h>

#include "lib/base/segarray.h"
#include "lib/image/source.h"
#include "lib/tree/tree.h"
#include "lib/verify/fingerprint.h"

struct source_tree {
	struct tree tree;
	struct segarray digests; /* of regular files, by the number of the inode */
};

void source_tree_init(struct source_tree *t);

/*
 * Every layer is verified by digest and diff_id on the way. `done` counts bytes as stored, for
 * the progress. Ends with an error when the user interrupts. Xattrs that EROFS has no place for
 * are told and left out, as in a conversion.
 */
int source_tree_read(struct source_tree *t, struct image_source *src, _Atomic uint64_t *done,
	struct error **err);
void source_tree_free(struct source_tree *t); /* what it holds, not t itself */

/* FINGERPRINT_SIZE bytes */
static inline const uint8_t *source_tree_digest(const struct source_tree *t, uint32_t inode)
{
	return segarray_at(&t->digests, inode);
}

#endif
