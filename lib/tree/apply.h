/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * How a layer's entries change the tree: what extracting the layers one over the other with a
 * container runtime would leave (OCI image-spec, layer.md; umoci and containerd where the text
 * is silent; docs/design.md lists each rule).
 */
#ifndef TREE_APPLY_H
#define TREE_APPLY_H

#include "fmt/entry.h"
#include "lib/tree/tree.h"

struct apply;

struct apply *apply_new(struct tree *tree);
void apply_free(struct apply *a);

/* Entries that follow belong to the next layer up. An error past 65,535 layers. */
int apply_begin_layer(struct apply *a, struct error **err);

/*
 * Apply one entry. For a regular file *file is the inode that its data belongs to, or 0 when
 * the entry leaves no file behind; for the others it is 0. Errors name the path.
 */
int apply_entry(struct apply *a, const struct entry *e, uint32_t *file, struct error **err);

/* The layer is complete: hard links to later entries find their targets now. */
int apply_end_layer(struct apply *a, struct error **err);

static inline void cleanup_apply_(struct apply **a)
{
	apply_free(*a);
}

#define CLEANUP_APPLY CLEANUP(cleanup_apply_)

#endif
