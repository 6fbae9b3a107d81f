// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/bootstrap/validate.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/bootstrap/validator.h"

int validator_refuse(struct validator *v, uint64_t offset, const char *fmt, ...)
{
	CLEANUP_FREE char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	return error_set(v->err, 0, "%s (at byte %" PRIu64 ")", text, offset);
}

bool validator_zeros(const struct validator *v, uint64_t offset, uint64_t end)
{
	const uint8_t *p = v->image + offset;

	/* the first byte is zero, and each is like the one before it */
	return offset >= end || (!p[0] && !memcmp(p, p + 1, end - offset - 1));
}

static void validator_free(struct validator *v)
{
	free(v->shared_starts);
	free(v->starts);
	free(v->links);
	segarray_free(&v->dirs);
}

/* calloc() takes large pieces from the kernel, which gives memory to what is touched. */
static void make_maps(struct validator *v)
{
	uint64_t slots = v->inodes_limit / EROFS_SLOT_SIZE;

	v->starts = xzalloc(slots / 8 + 1);
	v->links = xcalloc(slots, sizeof(*v->links));
	v->shared_starts = xzalloc((v->size - v->inodes_limit) / 4 / 8 + 1);
	segarray_init(&v->dirs, sizeof(struct validator_dir));
}

static int place_root(struct validator *v)
{
	struct erofs_inode inode;
	struct validator_dir *root;

	if (validate_inode(v, v->super.root_nid, &inode) < 0)
		return -1;
	if (!S_ISDIR(inode.mode))
		return validator_refuse(v, (uint64_t)v->super.root_nid * EROFS_SLOT_SIZE,
			"the root is not a directory");
	v->dir = segarray_add(&v->dirs);
	root = validator_dir(v, v->dir);
	*root = (struct validator_dir){ .nid = v->super.root_nid, .parent = v->dir };
	return 0;
}

/* Directories are found while others are read: breadth first. */
static int read_tree(struct validator *v)
{
	if (place_root(v) < 0)
		return -1;
	for (v->dir = 1; v->dir <= v->dirs.count; v->dir++)
		if (validate_dir(v) < 0)
			return -1;
	v->result.directories = v->dirs.count;
	v->dir = 0;
	return 0;
}

/* A fault within the tree gets the path in front. */
static int validate_tree(struct validator *v)
{
	CLEANUP_FREE char *path = NULL;

	if (read_tree(v) == 0)
		return 0;
	path = validator_path(v);
	return error_wrap(v->err, "%s", path);
}

static int check_links(struct validator *v)
{
	uint64_t nid = 0;

	if (!v->links_left)
		return 0;
	while (!v->links[nid])
		nid++;
	return validator_refuse(v, nid * EROFS_SLOT_SIZE,
		"inode %" PRIu64 " has %" PRIu32 " names fewer than its link count says", nid,
		v->links[nid]);
}

/* What only the whole tree tells: counts, and where the areas end. */
static int check_whole(struct validator *v)
{
	const struct erofs_super *sb = &v->super;

	if (check_links(v) < 0)
		return -1;
	if (sb->inodes != v->result.inodes)
		return validator_refuse(v, EROFS_SUPER_OFFSET + 0x10,
			"the superblock counts %" PRIu64 " inodes, the tree has %" PRIu64,
			sb->inodes, v->result.inodes);
	if (!(sb->feature_incompat & EROFS_INCOMPAT_CHUNKED) != !v->result.chunk_indexes)
		return validator_refuse(v, EROFS_SUPER_OFFSET + 0x50,
			"the chunked-file feature and %" PRIu64 " chunk indexes",
			v->result.chunk_indexes);
	if (v->has_xattrs && !(sb->feature_compat & EROFS_COMPAT_XATTR_FILTER))
		return validator_refuse(
			v, EROFS_SUPER_OFFSET + 0x08, "xattrs without the name filter feature");
	if (v->inodes_limit - v->inodes_end >= EROFS_BLOCK_SIZE)
		return validator_refuse(v, EROFS_SUPER_OFFSET + 0x2c,
			"the inodes end at byte %" PRIu64
			", the shared xattrs begin in block %" PRIu32,
			v->inodes_end, sb->xattr_blk);
	if (!validator_zeros(v, v->inodes_end, v->inodes_limit))
		return validator_refuse(
			v, v->inodes_end, "bytes after the last inode are not zero");
	if (!v->data_start)
		v->data_start = v->data_end = v->size;
	if (v->data_end != v->size)
		return validator_refuse(v, v->data_end, "bytes that belong to nothing");
	return validate_shared_area(v);
}

int bootstrap_validate(const void *image, uint64_t size, const struct bootstrap_devices *expected,
	struct bootstrap_validation *result, struct error **err)
{
	CLEANUP(validator_free) struct validator v = { .image = image, .size = size, .err = err };

	if (validate_super(&v) < 0 || validate_devices(&v, expected) < 0)
		return -1;
	make_maps(&v);
	if (validate_tree(&v) < 0 || check_whole(&v) < 0)
		return -1;
	if (result)
		*result = v.result;
	return 0;
}

int bootstrap_validate_fd(int fd, const struct bootstrap_devices *expected,
	struct bootstrap_validation *result, struct error **err)
{
	struct stat st;
	void *map;
	int ret;

	if (fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot look at the bootstrap");
	if (!S_ISREG(st.st_mode))
		return error_set(err, 0, "the bootstrap is not a regular file");
	if (!st.st_size)
		return error_set(err, 0, "the bootstrap is empty");
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return error_set(err, errno, "cannot map the bootstrap");
	ret = bootstrap_validate(map, (uint64_t)st.st_size, expected, result, err);
	munmap(map, (size_t)st.st_size);
	return ret;
}
