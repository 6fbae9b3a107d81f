/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Reading a bootstrap: the tree that it describes, with every offset checked before it is
 * used. Trusts nothing it reads; what it returns points into the mapped file. What the format
 * allows but this project's images never hold (compressed files, 4-byte block maps, chunks
 * without a device) is refused with a sentence.
 */
#ifndef BOOTSTRAP_READ_H
#define BOOTSTRAP_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fmt/erofs.h"
#include "lib/base/error.h"

struct bootstrap;

/*
 * Map the image, which must have a root directory; the descriptor stays the caller's and may be
 * closed. The file must not be cut short while it is mapped: a layout's blobs never are, they are
 * replaced as a whole.
 */
struct bootstrap *bootstrap_open(int fd, struct error **err);
void bootstrap_close(struct bootstrap *b);

const struct erofs_super *bootstrap_super(const struct bootstrap *b);

/* Bytes of the image, by its superblock; the file may be longer. */
uint64_t bootstrap_size(const struct bootstrap *b);

/* How many inodes can stand in it: every valid NID is below. */
uint64_t bootstrap_nids(const struct bootstrap *b);

/* Device slot i, 0 to super->devices - 1. */
int bootstrap_device(
	const struct bootstrap *b, unsigned i, struct erofs_device_slot *slot, struct error **err);

struct bootstrap_inode {
	uint64_t nid;
	struct erofs_inode inode;
	uint64_t xattr_offset; /* bytes into the image */
	uint64_t data_offset; /* of the inline tail or the chunk indexes */
};

/* The inode, once it and all that its fields point to is known to lie within the image. */
int bootstrap_inode(
	const struct bootstrap *b, uint64_t nid, struct bootstrap_inode *out, struct error **err);

/* Bytes of metadata that no other inode shares: itself, xattrs, tail or chunk indexes. */
uint64_t bootstrap_inode_bytes(const struct bootstrap_inode *inode);

/* One name in a directory; not NUL-terminated. */
struct bootstrap_name {
	const char *name;
	size_t len;
	uint64_t nid;
	uint8_t type;
};

/*
 * Call `each` for every entry but "." and ".." in stored order; it returns 0 to go on. The
 * inode of ".." goes to *parent, unless that is NULL.
 */
int bootstrap_readdir(const struct bootstrap *b, const struct bootstrap_inode *dir,
	int (*each)(void *arg, const struct bootstrap_name *name, struct error **err), void *arg,
	uint64_t *parent, struct error **err);

/* The target of a symlink, NUL-terminated; the caller frees it. */
char *bootstrap_readlink(
	const struct bootstrap *b, const struct bootstrap_inode *link, struct error **err);

/*
 * The data of a chunked file as runs, in file order: `blk` and `n_blk` of device `device`
 * (1 and up), or a hole when device is 0. Adjoining chunks that continue each other come as
 * one run. A flat file has none: see bootstrap_flat().
 */
struct bootstrap_run {
	uint64_t offset; /* bytes into the file */
	uint64_t n_blk;
	uint32_t blk;
	uint16_t device;
};

int bootstrap_runs(const struct bootstrap *b, const struct bootstrap_inode *file,
	int (*each)(void *arg, const struct bootstrap_run *run, struct error **err), void *arg,
	struct error **err);

/*
 * The same for the chunks that hold [from, to) of the file: the first run may begin before, the
 * last one end behind. Time goes with the chunks in between, not with the file's.
 */
int bootstrap_runs_between(const struct bootstrap *b, const struct bootstrap_inode *file,
	uint64_t from, uint64_t to,
	int (*each)(void *arg, const struct bootstrap_run *run, struct error **err), void *arg,
	struct error **err);

/* How many chunk indexes the inode has; 0 when it is not chunked. */
uint64_t bootstrap_chunks(const struct bootstrap_inode *inode);

/*
 * Data that lies in the bootstrap itself: whole blocks first (for the plain layout all of
 * it), then perhaps an inline tail. Both are empty for a chunked inode.
 */
struct bootstrap_flat {
	const uint8_t *head, *tail;
	uint64_t head_size;
	uint32_t tail_size;
};

void bootstrap_flat(
	const struct bootstrap *b, const struct bootstrap_inode *inode, struct bootstrap_flat *out);

/* One xattr; name and value point into the image. */
struct bootstrap_xattr {
	const char *prefix; /* "user." */
	const char *suffix; /* not NUL-terminated */
	size_t suffix_len;
	const uint8_t *value;
	size_t value_len;
	bool shared;
};

/* Call `each` (NULL: only verify) for every xattr of the inode; it returns 0 to go on. */
int bootstrap_xattrs(const struct bootstrap *b, const struct bootstrap_inode *inode,
	int (*each)(void *arg, const struct bootstrap_xattr *xattr, struct error **err), void *arg,
	struct error **err);

static inline void cleanup_bootstrap_(struct bootstrap **b)
{
	if (*b)
		bootstrap_close(*b);
}

#define CLEANUP_BOOTSTRAP CLEANUP(cleanup_bootstrap_)

#endif
