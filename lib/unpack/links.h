/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inodes that have several names, each with the name that came first. */
#ifndef UNPACK_LINKS_H
#define UNPACK_LINKS_H

#include <stdbool.h>

#include "lib/base/lhash.h"
#include "lib/base/segarray.h"
#include "lib/unpack/walk.h"

struct link_first {
	uint32_t chain;
	bool left_out; /* the file could not be made, so its other names cannot be either */
	uint64_t nid;
	char *path;
};

struct links {
	struct segarray firsts;
	struct lhash by_nid;
};

void links_init(struct links *l);
void links_free(struct links *l);

/* The first name of this inode, or NULL when `e` is it: then links_add() keeps it. */
struct link_first *links_find(struct links *l, const struct unpack_entry *e);

/* Only inodes that claim to have several names are kept; NULL for the others. */
struct link_first *links_add(struct links *l, const struct unpack_entry *e);

#endif
