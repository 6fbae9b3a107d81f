/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Where each inode and directory block goes. The image is laid out twice by the same rules:
 * once to learn the places (directory entries need the NIDs of what they name), and once to
 * write, when each inode comes up again at the place that it was given.
 *
 *	block 0: superblock, device table, inodes ... | shared xattrs | blocks of directories
 *
 * Inodes stand directory by directory, breadth first, so that listing a directory with its
 * children's attributes reads neighbouring bytes.
 */
#ifndef BOOTSTRAP_LAYOUT_H
#define BOOTSTRAP_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "fmt/erofs.h"
#include "lib/bootstrap/xattr_area.h"
#include "lib/tree/tree.h"

/* One inode as the image has it. */
struct placed {
	uint64_t offset; /* of the inode, bytes into the image */
	uint64_t data_offset; /* of its inline tail or chunk indexes */
	struct erofs_inode inode; /* i_u of flat data counts from the data area's first block */
	uint64_t blocks; /* it has in the data area */
	uint64_t tail; /* bytes inline */
	unsigned chunk_bits; /* of a chunked one */
	uint64_t chunks;
};

struct layout {
	struct tree *tree;
	const struct xattr_area *xattrs;
	int64_t epoch;
	uint32_t epoch_nsec;
	uint64_t start; /* of the first inode */
	/* set by layout_run() */
	uint64_t meta_end; /* past the last inode */
	uint64_t data_blocks;
	uint64_t inodes, compact, chunk_indexes;
};

/* Put the children of each directory in the order of their names' bytes. */
void layout_sort(struct tree *tree);

/* The commonest mtime among inodes that are else fit for the compact form: the epoch. */
void layout_choose_epoch(struct layout *l);

/*
 * Go through all inodes in the order of the image: each is placed, entered as tree_inode.mark
 * (its NID), and shown to `each`, which returns 0 to go on. Two runs give the same places.
 */
int layout_run(struct layout *l,
	int (*each)(void *arg, uint32_t inode, const struct placed *placed, struct error **err),
	void *arg, struct error **err);

/* Iterates over a directory's entries, "." and ".." in their places among the names. */
struct dir_iter {
	const struct tree *tree;
	uint32_t dir, next;
	uint8_t dots; /* how many of the two are done */
};

struct dir_entry {
	const char *name;
	uint32_t len;
	uint32_t inode;
};

enum { DIR_BLOCK_ENTRIES = EROFS_BLOCK_SIZE / (EROFS_DIRENT_SIZE + 1) };

void dir_iter_init(struct dir_iter *it, const struct tree *tree, uint32_t dir);

/* The entries of the directory's next block; how many (0 at the end), and the bytes they take. */
unsigned dir_iter_block(
	struct dir_iter *it, struct dir_entry entries[static DIR_BLOCK_ENTRIES], uint32_t *used);

#endif
