// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <string.h>
#include <sys/stat.h>

#include "fmt/le.h"
#include "lib/bootstrap/validator.h"

/* A directory while it is read. */
struct scan {
	uint32_t nid, parent;
	uint32_t last_used; /* bytes of the block before */
	struct erofs_dirent dirent; /* the current one */
	uint64_t at; /* where it stands */
	const char *name, *last; /* the names of it and of the one before */
	uint32_t len, last_len;
	uint64_t subdirs;
	bool dot, dotdot;
};

/* ---- one entry ---- */

static int check_name(struct validator *v, const struct scan *s)
{
	uint32_t len = s->len < s->last_len ? s->len : s->last_len;
	int order = s->last ? memcmp(s->last, s->name, len) : -1;

	if (memchr(s->name, '/', s->len) || memchr(s->name, '\0', s->len))
		return validator_refuse(v, s->at, "a name with a slash or a NUL byte");
	if (order > 0 || (!order && s->last_len >= s->len))
		return validator_refuse(v, s->at, "names are not in ascending order");
	return 0;
}

/* "." and ".." are entries like others, but their inodes are known. */
static int take_dot(struct validator *v, struct scan *s)
{
	uint32_t want = s->len == 1 ? s->nid : s->parent;

	if (s->dirent.nid != want)
		return validator_refuse(v, s->at, "it is inode %" PRIu64 " instead of %" PRIu32,
			s->dirent.nid, want);
	if (s->dirent.type != EROFS_FT_DIR)
		return validator_refuse(v, s->at + 10, "the entry's type is %u, its inode's %u",
			s->dirent.type, EROFS_FT_DIR);
	*(s->len == 1 ? &s->dot : &s->dotdot) = true;
	return 0;
}

/* A further name of an inode that has its place. */
static int take_link(struct validator *v, const struct scan *s, uint16_t *mode)
{
	uint64_t nid = s->dirent.nid;

	if (!validator_bit(v->starts, nid))
		return validator_refuse(v, s->at, "no inode begins at NID %" PRIu64, nid);
	*mode = get_le16(v->image + nid * EROFS_SLOT_SIZE + 4);
	if (S_ISDIR(*mode))
		return validator_refuse(v, s->at, "a directory that is already part of the tree");
	if (!v->links[nid])
		return validator_refuse(
			v, s->at, "inode %" PRIu64 " has more names than its link count says", nid);
	v->links[nid]--;
	v->links_left--;
	return 0;
}

static int take_new(struct validator *v, struct scan *s, uint16_t *mode)
{
	struct erofs_inode inode;
	uint32_t dir;

	if (validate_inode(v, s->dirent.nid, &inode) < 0)
		return -1;
	*mode = inode.mode;
	if (!S_ISDIR(inode.mode))
		return 0;
	s->subdirs++;
	dir = segarray_add(&v->dirs);
	if (!dir)
		return validator_refuse(v, s->at, "more than 2^32 directories");
	*validator_dir(v, dir) =
		(struct validator_dir){ .nid = (uint32_t)s->dirent.nid, .parent = v->dir };
	return 0;
}

static int take_entry(struct validator *v, struct scan *s)
{
	uint64_t nid = s->dirent.nid;
	uint16_t mode = 0;
	int ret;

	if (check_name(v, s) < 0)
		return -1;
	if (s->name[0] == '.' && (s->len == 1 || (s->len == 2 && s->name[1] == '.')))
		return take_dot(v, s);
	/* what begins behind all others is new; NIDs have 32 bits, see docs/format */
	if (nid >= v->inodes_limit / EROFS_SLOT_SIZE || nid > UINT32_MAX)
		return validator_refuse(
			v, s->at, "inode %" PRIu64 " lies outside of the inodes' area", nid);
	if (nid * EROFS_SLOT_SIZE >= v->inodes_end)
		ret = take_new(v, s, &mode);
	else
		ret = take_link(v, s, &mode);
	if (ret < 0)
		return -1;
	v->result.names++;
	if (s->dirent.type == erofs_file_type(mode))
		return 0;
	return validator_refuse(v, s->at + 10, "the entry's type is %u, its inode's %u",
		s->dirent.type, erofs_file_type(mode));
}

/* ---- a block of entries ---- */

/*
 * Where the last name of a block ends. In the directory's last block that is where the
 * directory ends; in others, at the zeros that fill it up.
 */
static int find_end(struct validator *v, const struct scan *s, uint64_t block, uint32_t len,
	bool is_last, uint32_t *end)
{
	const char *start = (const char *)v->image + block + s->dirent.name_offset;
	uint32_t room = len - s->dirent.name_offset;

	*end = len;
	if (is_last)
		return 0;
	*end = s->dirent.name_offset + (uint32_t)strnlen(start, room);
	if (!validator_zeros(v, block + *end, block + len))
		return validator_refuse(v, block + *end, "bytes after the last name are not zero");
	return 0;
}

/* The current entry is number i of n; names follow each other without a gap. */
static int read_entry(struct validator *v, struct scan *s, uint64_t block, uint32_t len,
	bool is_last, uint32_t i, uint32_t n)
{
	uint32_t end;

	v->name = NULL;
	if (v->image[s->at + 11])
		return validator_refuse(v, s->at + 11, "the reserved byte of an entry is not zero");
	if (i + 1 < n)
		end = get_le16(v->image + s->at + EROFS_DIRENT_SIZE + 8);
	else if (find_end(v, s, block, len, is_last, &end) < 0)
		return -1;
	if (end <= s->dirent.name_offset || end > len ||
		end - s->dirent.name_offset > EROFS_NAME_MAX)
		return validator_refuse(v, s->at + 8,
			"a name that begins at byte %u and ends at %u", s->dirent.name_offset, end);
	s->name = (const char *)v->image + block + s->dirent.name_offset;
	s->len = end - s->dirent.name_offset;
	v->name = s->name;
	v->name_len = (uint8_t)s->len;
	return 0;
}

/* Blocks are filled as long as the next entry fits. */
static int check_filled(struct validator *v, struct scan *s)
{
	if (s->last_used && s->last_used + EROFS_DIRENT_SIZE + s->len <= EROFS_BLOCK_SIZE)
		return validator_refuse(v, s->at, "the entry has room in the block before");
	s->last_used = 0;
	return 0;
}

static int read_block(
	struct validator *v, struct scan *s, uint64_t block, uint32_t len, bool is_last)
{
	uint32_t names = len > EROFS_DIRENT_SIZE ? get_le16(v->image + block + 8) : 0;
	uint32_t n = names / EROFS_DIRENT_SIZE;

	v->name = NULL; /* until there is one, a fault is the directory's */
	if (!n || names % EROFS_DIRENT_SIZE || names >= len)
		return validator_refuse(
			v, block, "names of a directory begin at byte %u of %u", names, len);
	for (uint32_t i = 0; i < n; i++) {
		s->at = block + (uint64_t)i * EROFS_DIRENT_SIZE;
		erofs_dirent_decode(&s->dirent, v->image + s->at);
		if (read_entry(v, s, block, len, is_last, i, n) < 0 || check_filled(v, s) < 0 ||
			take_entry(v, s) < 0)
			return -1;
		s->last = s->name;
		s->last_len = s->len;
	}
	s->last_used = (uint32_t)(s->name - (const char *)v->image - block) + s->len;
	return 0;
}

/* ---- all of it ---- */

static int read_blocks(struct validator *v, struct scan *s, const struct validator_flat *f)
{
	for (uint64_t done = 0; done < f->blocks_size; done += EROFS_BLOCK_SIZE) {
		uint64_t left = f->blocks_size - done;
		uint32_t len = left < EROFS_BLOCK_SIZE ? (uint32_t)left : EROFS_BLOCK_SIZE;
		bool is_last = left <= EROFS_BLOCK_SIZE && !f->tail_size;

		if (read_block(v, s, f->blocks + done, len, is_last) < 0)
			return -1;
	}
	return f->tail_size ? read_block(v, s, f->tail, f->tail_size, true) : 0;
}

int validate_dir(struct validator *v)
{
	const struct validator_dir *dir = validator_dir(v, v->dir);
	struct scan s = { .nid = dir->nid, .parent = validator_dir(v, dir->parent)->nid };
	uint64_t offset = (uint64_t)dir->nid * EROFS_SLOT_SIZE;
	struct validator_flat flat;
	struct erofs_inode inode;
	struct fault fault;

	/* it was decoded when it was placed: this cannot fail */
	if (erofs_inode_decode(
		    &inode, v->image + offset, v->inodes_limit - offset, &v->super, &fault) < 0)
		return validator_refuse(v, offset + fault.offset, "%s", fault.what);
	flat = validator_flat(&inode, offset);
	if (read_blocks(v, &s, &flat) < 0)
		return -1;
	v->name = NULL;
	if (!s.dot || !s.dotdot)
		return validator_refuse(v, offset, "a directory without \".\" or \"..\"");
	if (inode.nlink != s.subdirs + 2)
		return validator_refuse(v, offset,
			"link count %" PRIu32 ", but %" PRIu64 " subdirectories", inode.nlink,
			s.subdirs);
	return 0;
}
