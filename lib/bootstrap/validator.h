/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What the parts of the validator share; for validate*.c alone. */
#ifndef BOOTSTRAP_VALIDATOR_H
#define BOOTSTRAP_VALIDATOR_H

#include <inttypes.h>
#include <stdbool.h>

#include "fmt/erofs.h"
#include "lib/base/segarray.h"
#include "lib/bootstrap/validate.h"

/* A directory that was placed: NIDs of inodes have 32 bits here. */
struct validator_dir {
	uint32_t nid;
	uint32_t parent; /* number in `dirs`; the root is its own */
};

struct validator {
	const uint8_t *image;
	uint64_t size; /* whole blocks, as the superblock says */
	struct erofs_super super;
	const uint8_t *slots; /* the device table */
	uint64_t inodes_limit; /* where the shared xattrs begin: no inode reaches further */
	uint64_t inodes_end; /* of those that were placed */
	uint64_t data_start; /* of the data area, bytes; 0: no inode has told yet */
	uint64_t data_end; /* of the data of inodes that were placed */
	uint64_t shared_end; /* of the shared xattrs that were read */
	uint8_t *shared_starts; /* a bit for each 4 bytes of that area: an entry begins here */
	uint8_t *starts; /* a bit for each NID: an inode begins here */
	uint32_t *links; /* by NID: names that the link count still promises */
	uint64_t links_left; /* their sum */
	struct segarray dirs; /* all that were placed, in the order in which they are read */
	/* Where the validator is, for the path in an error: the directory, and a name in it. */
	uint32_t dir;
	const char *name;
	uint8_t name_len;
	bool has_xattrs;
	struct bootstrap_validation result;
	struct error **err;
};

/* The error: the sentence and the byte that it is about. Returns -1. */
int validator_refuse(struct validator *v, uint64_t offset, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* All bytes from `offset` to `end`, which lie within the image, are zero. */
bool validator_zeros(const struct validator *v, uint64_t offset, uint64_t end);

static inline bool validator_bit(const uint8_t *bits, uint64_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

static inline void validator_set_bit(uint8_t *bits, uint64_t i)
{
	bits[i / 8] |= (uint8_t)(1u << i % 8);
}

static inline struct validator_dir *validator_dir(const struct validator *v, uint32_t dir)
{
	return segarray_at(&v->dirs, dir);
}

/* ---- validate_super.c: the first bytes ---- */

int validate_super(struct validator *v);
int validate_devices(struct validator *v, const struct bootstrap_devices *expected);

/* Blocks of device `id`, 1 to super.devices. */
uint32_t validator_device_blocks(const struct validator *v, uint16_t id);

/* ---- validate_inode.c: an inode that comes up the first time ---- */

/*
 * It stands where the next one has to, and so do its xattrs and data; the contents of a
 * directory are left for later.
 */
int validate_inode(struct validator *v, uint64_t nid, struct erofs_inode *inode);

/* Bytes of the image where the whole blocks and the tail of a placed, flat inode are. */
struct validator_flat {
	uint64_t blocks, tail;
	uint64_t blocks_size; /* bytes of data in the blocks */
	uint32_t tail_size;
};

struct validator_flat validator_flat(const struct erofs_inode *inode, uint64_t offset);

/* ---- validate_chunks.c: chunk indexes ---- */

/* How many a chunked inode has; its i_u is known to be sound. */
uint64_t validator_chunks(const struct erofs_inode *inode);

/* Those at `offset`, which lie within the inode area. */
int validate_chunks(struct validator *v, const struct erofs_inode *inode, uint64_t offset);

/* ---- validate_xattr.c: xattrs behind an inode, and shared ones ---- */

int validate_xattrs(struct validator *v, const struct erofs_inode *inode, uint64_t offset);

/* What of the shared area no inode has pointed at; its size. When data_start is known. */
int validate_shared_area(struct validator *v);

/* ---- validate_dir.c: what a directory names ---- */

/* Reads directory v->dir: every inode that it names for the first time is placed. */
int validate_dir(struct validator *v);

/* ---- validate_path.c ---- */

/* "/usr/bin/x": where the validator is. The caller frees it. */
char *validator_path(const struct validator *v);

#endif
