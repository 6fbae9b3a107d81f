// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/bootstrap/lookup.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

/* A directory's bytes, and one block of them. */
struct dir {
	struct bootstrap_flat flat;
	uint64_t n_blk;
};

struct block {
	const uint8_t *p;
	uint32_t len;
	uint32_t n; /* entries */
};

static int open_dir(struct dir *d, const struct bootstrap *b, const struct bootstrap_inode *inode,
	struct error **err)
{
	if (!S_ISDIR(inode->inode.mode))
		return error_set(err, 0, "inode %" PRIu64 " is not a directory", inode->nid);
	bootstrap_flat(b, inode, &d->flat);
	d->n_blk = (d->flat.head_size + EROFS_BLOCK_SIZE - 1) / EROFS_BLOCK_SIZE +
		   (d->flat.tail_size > 0);
	return 0;
}

/* Block k; k < n_blk. */
static int open_block(struct block *b, const struct dir *d, uint64_t k, struct error **err)
{
	uint64_t at = k * EROFS_BLOCK_SIZE, left;
	struct erofs_dirent first;

	if (at < d->flat.head_size) {
		left = d->flat.head_size - at;
		*b = (struct block){ d->flat.head + at,
			left < EROFS_BLOCK_SIZE ? (uint32_t)left : EROFS_BLOCK_SIZE, 0 };
	} else {
		*b = (struct block){ d->flat.tail, d->flat.tail_size, 0 };
	}
	if (b->len < EROFS_DIRENT_SIZE)
		return error_set(err, 0, "directory block %" PRIu64 " is too short", k);
	erofs_dirent_decode(&first, b->p);
	b->n = first.name_offset / EROFS_DIRENT_SIZE;
	if (!b->n || first.name_offset >= b->len)
		return error_set(err, 0, "directory block %" PRIu64 " has no names", k);
	return 0;
}

/* Entry i; i < n. */
static int get_name(
	struct bootstrap_name *name, const struct block *b, uint32_t i, struct error **err)
{
	struct erofs_dirent d, next;
	uint32_t end = b->len;

	erofs_dirent_decode(&d, b->p + i * EROFS_DIRENT_SIZE);
	if (i + 1 < b->n) {
		erofs_dirent_decode(&next, b->p + (i + 1) * EROFS_DIRENT_SIZE);
		end = next.name_offset;
	}
	if (d.name_offset >= end || end > b->len)
		return error_set(err, 0, "a name lies outside of its directory block");
	*name = (struct bootstrap_name){
		.name = (const char *)b->p + d.name_offset, .nid = d.nid, .type = d.type
	};
	name->len = strnlen(name->name, end - d.name_offset);
	if (!name->len || name->len > EROFS_NAME_MAX)
		return error_set(err, 0, "a name of %zu bytes", name->len);
	return 0;
}

static int compare(const char *a, size_t a_len, const struct bootstrap_name *b)
{
	int order = memcmp(a, b->name, a_len < b->len ? a_len : b->len);

	if (order)
		return order;
	return a_len < b->len ? -1 : a_len > b->len;
}

/* The last block whose first name is not above the wanted one: 1, 0 when there is none, or -1. */
static int find_block(
	struct block *b, const struct dir *d, const char *name, size_t len, struct error **err)
{
	uint64_t low = 0, high = d->n_blk;
	struct bootstrap_name first;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (open_block(b, d, middle, err) < 0 || get_name(&first, b, 0, err) < 0)
			return -1;
		if (compare(name, len, &first) < 0)
			high = middle;
		else
			low = middle + 1;
	}
	if (!low)
		return 0;
	return open_block(b, d, low - 1, err) < 0 ? -1 : 1;
}

int bootstrap_lookup(const struct bootstrap *b, const struct bootstrap_inode *inode,
	const char *name, size_t len, struct bootstrap_name *found, struct error **err)
{
	uint32_t low = 0, high;
	struct block block;
	struct dir d;
	int r;

	if (open_dir(&d, b, inode, err) < 0)
		return -1;
	r = find_block(&block, &d, name, len, err);
	if (r <= 0)
		return r;
	high = block.n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (get_name(found, &block, middle, err) < 0)
			return -1;
		r = compare(name, len, found);
		if (!r)
			return 1;
		if (r < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return 0;
}

int bootstrap_names_from(const struct bootstrap *b, const struct bootstrap_inode *inode,
	uint64_t at, int (*each)(void *arg, const struct bootstrap_name *name, uint64_t next),
	void *arg, struct error **err)
{
	uint64_t k = at / EROFS_BLOCK_SIZE;
	uint32_t i = (uint32_t)(at % EROFS_BLOCK_SIZE) / EROFS_DIRENT_SIZE;
	struct bootstrap_name name;
	struct block block;
	struct dir d;

	if (open_dir(&d, b, inode, err) < 0)
		return -1;
	for (; k < d.n_blk; k++, i = 0) {
		if (open_block(&block, &d, k, err) < 0)
			return error_wrap(err, "inode %" PRIu64, inode->nid);
		for (; i < block.n; i++) {
			uint64_t next = k * EROFS_BLOCK_SIZE + (i + 1) * EROFS_DIRENT_SIZE;

			if (get_name(&name, &block, i, err) < 0)
				return error_wrap(err, "inode %" PRIu64, inode->nid);
			if (each(arg, &name, next))
				return 0;
		}
	}
	return 0;
}
