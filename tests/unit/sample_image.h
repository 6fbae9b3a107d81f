/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A small bootstrap with a bit of everything, made by the writer from a tree that is built
 * here: for tests that break it.
 */
#ifndef TESTS_UNIT_SAMPLE_IMAGE_H
#define TESTS_UNIT_SAMPLE_IMAGE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fmt/le.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/bootstrap.h"

enum { SAMPLE_DEVICES = 2, SAMPLE_BLOCKS = 1000 }; /* the first has as many, the second twice */
enum { SAMPLE_CROWD = 600 };

struct sample {
	struct tree tree;
	struct bootstrap_device devices[SAMPLE_DEVICES];
	uint8_t *image;
	uint64_t size;
};

static inline void sample_die(struct error *err, const char *what)
{
	fprintf(stderr, "sample image: %s\n", err ? err->msg : what);
	exit(99);
}

/* ---- the tree ---- */

/* The directory that "a/b/c" lies in; *name becomes "c". */
static inline uint32_t sample_parent(const struct sample *s, const char *path, const char **name)
{
	uint32_t dir = s->tree.root;
	const char *slash;

	for (; (slash = strchr(path, '/')); path = slash + 1) {
		uint32_t id = tree_find(&s->tree, dir, path, (size_t)(slash - path));

		if (!id)
			sample_die(NULL, path);
		dir = tree_name(&s->tree, id)->inode;
	}
	*name = path;
	return dir;
}

static inline void sample_link(struct sample *s, const char *path, uint32_t inode)
{
	struct error *err = NULL;
	const char *name;
	uint32_t dir = sample_parent(s, path, &name);

	if (!tree_link(&s->tree, dir, name, strlen(name), inode, &err))
		sample_die(err, path);
}

static inline struct tree_inode *sample_add(struct sample *s, const char *path, uint16_t mode)
{
	struct error *err = NULL;
	uint32_t id = tree_new_inode(&s->tree, mode, &err);

	if (!id)
		sample_die(err, path);
	sample_link(s, path, id);
	return tree_inode(&s->tree, id);
}

static inline uint32_t sample_inode(const struct sample *s, const char *path)
{
	const char *name;
	uint32_t dir = sample_parent(s, path, &name);

	if (!*name)
		return dir;
	return tree_name(&s->tree, tree_find(&s->tree, dir, name, strlen(name)))->inode;
}

static inline void sample_symlink(struct sample *s, const char *path, size_t len)
{
	struct tree_inode *in = sample_add(s, path, S_IFLNK | 0777);

	in->target = xzalloc(len + 1);
	memset(in->target, 't', len);
	in->size = len;
}

/* Runs of (device, block, number of blocks); device 0 is a hole. The last block is partial. */
static inline void sample_file(
	struct sample *s, const char *path, uint32_t n, const uint32_t (*runs)[3])
{
	struct tree_inode *in = sample_add(s, path, S_IFREG | 0644);

	in->extents = xzalloc(sizeof(*in->extents) + n * sizeof(*in->extents->of));
	in->extents->n = n;
	for (uint32_t i = 0; i < n; i++) {
		in->extents->of[i] = (struct tree_extent){
			.device = (uint16_t)runs[i][0], .blk = runs[i][1], .n_blk = runs[i][2]
		};
		in->size += (uint64_t)runs[i][2] * 4096;
	}
	in->size -= 96;
}

static inline uint32_t sample_pair(
	struct sample *s, const char *name, const char *value, size_t len)
{
	return xattr_intern_pair(&s->tree.xattrs, name, value, (uint32_t)len);
}

static inline void sample_xattrs(
	struct sample *s, const char *path, const uint32_t *pairs, uint32_t n)
{
	tree_inode(&s->tree, sample_inode(s, path))->xattrs =
		xattr_intern_set(&s->tree.xattrs, pairs, n);
}

/* An ACL that gives one more user a permission, in the form of getxattr(2). */
#define SAMPLE_ACL                                                                          \
	"\2\0\0\0\1\0\7\0\377\377\377\377\2\0\6\0\1\0\0\0\4\0\5\0\377\377\377\377\20\0\7\0" \
	"\377\377\377\377\40\0\5\0\377\377\377\377"

/* CAP_NET_RAW, of the older form, which is 20 bytes long. */
#define SAMPLE_CAPABILITY "\1\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0"

static inline void sample_add_xattrs(struct sample *s)
{
	uint32_t acl = sample_pair(s, "system.posix_acl_default", SAMPLE_ACL, 44);
	uint32_t label = sample_pair(s, "security.label", "shared by several", 17);
	uint32_t labex = sample_pair(s, "security.labex", "of one", 6);
	uint32_t cap = sample_pair(s, "security.capability", SAMPLE_CAPABILITY, 20);
	uint32_t often = sample_pair(s, "trusted.often", "shared by two", 13);
	uint32_t one = sample_pair(s, "user.one", "11", 2),
		 two = sample_pair(s, "user.two", "2", 1);

	sample_xattrs(s, "acl", (uint32_t[]){ label, acl, often }, 3);
	sample_xattrs(s, "labelled", (uint32_t[]){ label, labex }, 2);
	sample_xattrs(s, "small", (uint32_t[]){ label, often }, 2);
	sample_xattrs(s, "chunks", (uint32_t[]){ one, two }, 2);
	sample_xattrs(s, "hard", (uint32_t[]){ cap }, 1);
}

static inline void sample_add_files(struct sample *s)
{
	static const uint32_t one[][3] = { { 1, 5, 40 } };
	static const uint32_t runs[][3] = { { 1, 100, 4 }, { 2, 1500, 2 }, { 0, 0, 2 },
		{ 2, 7, 1 } };
	static const uint32_t hole[][3] = { { 0, 0, UINT32_C(1) << 28 } };

	sample_file(s, "small", 1, one);
	sample_file(s, "chunks", 4, runs);
	sample_file(s, "sparse", 1, hole);
	sample_file(s, "hard", 1, one);
	sample_link(s, "dir/hard", sample_inode(s, "hard"));
	sample_link(s, "dir/sub/hard", sample_inode(s, "hard"));
	sample_add(s, "empty", S_IFREG | 0600);
	sample_add(s, "labelled", S_IFREG | 04755)->uid = 70000;
	sample_add(s, "fifo", S_IFIFO | 0600);
	sample_add(s, "char", S_IFCHR | 0600)->dev.major = 5;
	sample_add(s, "disk", S_IFBLK | 0600)->dev.minor = 1000;
	sample_symlink(s, "link", 11);
	sample_symlink(s, "wide", 3000);
	sample_symlink(s, "wider", 4000);
}

static inline void sample_add_crowd(struct sample *s)
{
	char path[300];

	for (int i = 0; i < SAMPLE_CROWD; i++) {
		struct tree_inode *in;

		snprintf(path, sizeof(path), "crowd/%c%03d%.*s", i % 2 ? '!' : 'x', i, i % 30,
			"_______________________________");
		in = sample_add(s, path, S_IFREG | 0644);
		in->mtime = i % 3 ? 0 : i;
	}
}

static inline void sample_build_tree(struct sample *s)
{
	tree_init(&s->tree);
	sample_add(s, "dir", S_IFDIR | 0755);
	sample_add(s, "dir/sub", S_IFDIR | 01777);
	sample_add(s, "dir/sub/deep", S_IFDIR | 0700)->mtime = -5;
	sample_add(s, "acl", S_IFDIR | 0750);
	sample_add(s, "crowd", S_IFDIR | 0755);
	sample_add_files(s);
	sample_add_crowd(s);
	sample_add_xattrs(s);
}

/* ---- the image ---- */

/* Write the tree, perhaps for another time. */
static inline void sample_write(struct sample *s)
{
	const struct bootstrap_input in = { &s->tree, s->devices, SAMPLE_DEVICES, "sample" };
	const char *dir = getenv("TMPDIR");
	struct error *err = NULL;
	CLEANUP_OUTFILE struct outfile *f = outfile_new(dir ? dir : "/tmp", &err);
	struct bootstrap_result r;

	if (!f || bootstrap_write(&in, f, &r, &err) < 0)
		sample_die(err, "write");
	free(s->image);
	s->size = r.size;
	s->image = xmalloc(r.size);
	if (pread(outfile_fd(f), s->image, r.size, 0) != (ssize_t)r.size)
		sample_die(NULL, "read");
}

static inline void sample_init(struct sample *s)
{
	*s = (struct sample){ 0 };
	for (uint32_t i = 0; i < SAMPLE_DEVICES; i++) {
		digest_of(&s->devices[i].tag, DIGEST_SHA256, &i, sizeof(i));
		s->devices[i].blocks = SAMPLE_BLOCKS * (i + 1);
	}
	sample_build_tree(s);
	sample_write(s);
}

static inline void sample_free(struct sample *s)
{
	tree_free(&s->tree);
	free(s->image);
}

/* ---- places in it ---- */

/* The inode of "a/b"; "" is the root. */
static inline uint8_t *sample_at(const struct sample *s, const char *path)
{
	return s->image + (size_t)tree_inode(&s->tree, sample_inode(s, path))->mark * 32;
}

static inline size_t sample_inode_size(const uint8_t *inode)
{
	return inode[0] & 1 ? 64 : 32;
}

/* Behind the inode: its xattrs. */
static inline uint8_t *sample_xattrs_at(const struct sample *s, const char *path)
{
	uint8_t *p = sample_at(s, path);

	return p + sample_inode_size(p);
}

/* Behind the xattrs: inline tail, or chunk indexes when that is a multiple of 8. */
static inline uint8_t *sample_tail(const struct sample *s, const char *path)
{
	uint8_t *p = sample_at(s, path);
	uint16_t count = get_le16(p + 2);

	return p + sample_inode_size(p) + (count ? 12 + 4 * (count - 1) : 0);
}

/* The first block of the data area that it has. */
static inline uint8_t *sample_block(const struct sample *s, const char *path)
{
	return s->image + (size_t)get_le32(sample_at(s, path) + 16) * 4096;
}

/* Entry i of an inline directory. */
static inline uint8_t *sample_entry(const struct sample *s, const char *dir, unsigned i)
{
	return sample_tail(s, dir) + (size_t)12 * i;
}

#endif
