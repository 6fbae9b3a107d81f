/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The merged file tree: inodes, and names that link directories to them. Built for millions of
 * entries: both are numbered elements of segmented arrays, names are found by one hash table
 * over (directory, name), and no walk recurses, since a path may be half a million levels deep.
 */
#ifndef TREE_TREE_H
#define TREE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/lhash.h"
#include "lib/base/segarray.h"
#include "lib/tree/xattrs.h"

/* A run of a file's blocks: n_blk blocks of 4 KiB from `blk` on in a device; device 0: a hole. */
struct tree_extent {
	uint64_t n_blk;
	uint32_t blk;
	uint16_t device;
};

struct tree_extents {
	uint32_t n;
	struct tree_extent of[];
};

struct tree_inode {
	uint64_t size; /* bytes of a regular file or symlink target */
	int64_t mtime;
	union {
		struct tree_extents *extents; /* regular file; NULL: empty, or one hole */
		char *target; /* symlink; owned. pending link: its target's path */
		struct {
			uint32_t first; /* directory: a name in it, or 0 */
			uint32_t self; /* directory: its own name; 0 for the root */
		} dir;
		struct {
			uint32_t major, minor;
		} dev;
	};
	uint32_t mtime_nsec;
	uint32_t uid, gid;
	uint32_t nlink; /* names; of a directory: 2 and its subdirectories */
	uint32_t xattrs; /* a set of tree->xattrs, 0: none */
	uint32_t mark; /* apply.c: the layer that it was purged in; lib/bootstrap: its place */
	uint16_t mode; /* with S_IFMT; 0: a hard link whose target is still to come */
	uint16_t layer; /* whose entry said all this; 0: a directory that none has named */
};

struct tree_name {
	const char *name; /* NUL-terminated, in the tree's arena */
	uint32_t dir; /* the inode of the directory that holds it */
	uint32_t inode;
	uint32_t next, prev; /* in the directory, unordered */
	uint32_t chain; /* of the hash table */
	uint16_t layer; /* the last layer that named it, or something below it; see apply.c */
	uint8_t len; /* strlen(name), 1 to 255 */
};

struct tree {
	struct segarray inodes, names;
	struct lhash index;
	uint64_t index_seed;
	uint32_t free_inode, free_name; /* lists of numbers to use again */
	uint32_t n_inodes; /* in use */
	uint32_t root; /* inode */
	struct xattr_table xattrs;
	char *arena; /* for names: the chunk being filled; chunks are chained by their first bytes
		      */
	size_t arena_used;
};

/* A tree of the root alone: 0755 root:root, mtime 0. */
void tree_init(struct tree *t);
void tree_free(struct tree *t);

static inline struct tree_inode *tree_inode(const struct tree *t, uint32_t inode)
{
	return segarray_at(&t->inodes, inode);
}

static inline struct tree_name *tree_name(const struct tree *t, uint32_t name)
{
	return segarray_at(&t->names, name);
}

bool tree_is_dir(const struct tree *t, uint32_t inode);

/* A new inode, all zero but for its mode; nobody names it yet. 0 with *err when full. */
uint32_t tree_new_inode(struct tree *t, uint16_t mode, struct error **err);

/* The name `name` (len bytes) in directory `dir`, or 0. */
uint32_t tree_find(const struct tree *t, uint32_t dir, const char *name, size_t len);

/*
 * Enter a name that is not there yet, and count the link. A directory has one name only.
 * 0 with *err when the tree is full.
 */
uint32_t tree_link(struct tree *t, uint32_t dir, const char *name, size_t len, uint32_t inode,
	struct error **err);

/* Give a name another inode; neither the old one nor the new is a directory. */
void tree_relink(struct tree *t, uint32_t name, uint32_t inode);

/* Remove a name with all that is below it; inodes without a name are gone. */
void tree_remove(struct tree *t, uint32_t name);

/* The directory that holds directory `dir`; the root is its own parent. */
uint32_t tree_parent(const struct tree *t, uint32_t dir);

/*
 * Pre-order walk below directory `top`: the name after `name` (0: the first). With skip, what
 * lies below `name` is passed over. 0 at the end.
 */
uint32_t tree_walk(const struct tree *t, uint32_t top, uint32_t name, bool skip);

/* "usr/lib/x", for messages; the caller frees it. */
char *tree_path(const struct tree *t, uint32_t name);

#define CLEANUP_TREE CLEANUP(tree_free)

#endif
