/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Extended attributes, kept once: a pair is a name with a value, a set is what one inode has.
 * Images repeat a handful of sets over many inodes.
 */
#ifndef TREE_XATTRS_H
#define TREE_XATTRS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/lhash.h"
#include "lib/base/segarray.h"

struct xattr_pair {
	char *name; /* whole, NUL-terminated; owned */
	uint8_t *value;
	uint32_t value_len;
	uint32_t chain;
	uint64_t hash;
	uint32_t uses; /* lib/bootstrap's own: inodes that have it */
	uint32_t shared; /* lib/bootstrap's own: its place in the shared area, or 0 */
};

struct xattr_set {
	uint32_t *pairs; /* numbers, in the order they were given */
	uint32_t n;
	uint32_t chain;
	uint64_t hash;
	uint32_t uses; /* lib/bootstrap's own */
};

struct xattr_table {
	struct segarray pairs, sets;
	struct lhash pair_index, set_index;
	uint64_t seed; /* keeps crafted names and values apart */
};

void xattr_table_init(struct xattr_table *t, uint64_t seed);
void xattr_table_free(struct xattr_table *t);

/* The number of the pair; never 0. */
uint32_t xattr_intern_pair(
	struct xattr_table *t, const char *name, const void *value, uint32_t value_len);

/* The number of the set; 0 for n = 0. */
uint32_t xattr_intern_set(struct xattr_table *t, const uint32_t *pairs, uint32_t n);

static inline struct xattr_pair *xattr_pair(const struct xattr_table *t, uint32_t id)
{
	return segarray_at(&t->pairs, id);
}

static inline struct xattr_set *xattr_set(const struct xattr_table *t, uint32_t id)
{
	return segarray_at(&t->sets, id);
}

#endif
