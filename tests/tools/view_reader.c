// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "tests/tools/view.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/bootstrap/walk.h"

struct reader {
	struct view *view;
	const struct bootstrap *b;
	const struct view_device *devices;
	/* of the inode that is being read */
	struct view_inode *now;
	uint8_t *bytes; /* its pieces, one behind the other */
	uint64_t size;
};

/* ---- data ---- */

/* What of the run lies in the piece at `offset`, whose bytes go to `out`. */
static void copy_overlap(const struct reader *r, const struct bootstrap_run *run, uint64_t offset,
	uint64_t len, uint8_t *out)
{
	uint64_t run_end = run->offset + run->n_blk * EROFS_BLOCK_SIZE;
	uint64_t from = run->offset > offset ? run->offset : offset;
	uint64_t to = run_end < offset + len ? run_end : offset + len;
	const struct view_device *d;
	uint64_t at;

	if (!run->device || from >= to)
		return;
	d = &r->devices[run->device - 1];
	at = (uint64_t)run->blk * EROFS_BLOCK_SIZE + (from - run->offset);
	if (at > d->size || to - from > d->size - at) /* the caller says that devices are whole */
		return;
	memcpy(out + (from - offset), d->bytes + at, to - from);
}

static int take_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	const struct reader *r = arg;
	uint64_t offset, len, at = 0;

	for (unsigned i = 0; view_piece(r->size, i, &offset, &len); i++, at += len)
		copy_overlap(r, run, offset, len, r->bytes + at);
	return 0;
}

static int read_data(struct reader *r, const struct bootstrap_inode *inode, struct error **err)
{
	uint64_t offset, len, total = 0;

	r->size = inode->inode.size;
	for (unsigned i = 0; view_piece(r->size, i, &offset, &len); i++)
		total += len;
	r->bytes = xzalloc(total + 1);
	if (bootstrap_runs(r->b, inode, take_run, r, err) == 0)
		r->now->content = view_hash(0, r->bytes, total);
	free(r->bytes);
	return *err ? -1 : 0;
}

/* ---- names, targets, xattrs ---- */

static int take_name(void *arg, const struct bootstrap_name *name, struct error **err)
{
	struct reader *r = arg;
	const uint64_t fields[] = { name->nid, name->type };

	r->now->content = view_hash(r->now->content, name->name, name->len);
	r->now->content = view_hash(r->now->content, fields, sizeof(fields));
	return 0;
}

static int read_link(struct reader *r, const struct bootstrap_inode *inode, struct error **err)
{
	CLEANUP_FREE char *target = bootstrap_readlink(r->b, inode, err);

	if (!target)
		return -1;
	r->now->content = view_hash(0, target, strlen(target));
	return 0;
}

static int take_xattr(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct reader *r = arg;
	char name[512];
	int n = snprintf(name, sizeof(name), "%s%.*s", x->prefix, (int)x->suffix_len, x->suffix);

	r->now->xattrs += view_hash_xattr(name, (size_t)n, x->value, x->value_len);
	return 0;
}

/* ---- inodes ---- */

static void take_fields(struct reader *r, const struct bootstrap_inode *inode)
{
	const struct erofs_inode *i = &inode->inode;
	struct view_stat st = { i->mode, i->nlink, i->uid, i->gid, 0, 0, i->size };
	struct view_inode *now = r->now;

	if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
		erofs_decode_dev(i->u, &st.major, &st.minor);
	now->nid = inode->nid;
	now->stat = view_hash_stat(&st);
	now->mtime = view_hash_time(i->mtime, i->mtime_nsec);
	/* with what alignment may put in between */
	now->end = inode->nid * EROFS_SLOT_SIZE + bootstrap_inode_bytes(inode) + 8;
	if (i->layout != EROFS_CHUNKED && i->u && (S_ISDIR(i->mode) || S_ISLNK(i->mode))) {
		now->data = (uint64_t)i->u * EROFS_BLOCK_SIZE;
		now->data_end = now->data + i->size;
	}
}

static int take_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	struct reader *r = arg;
	const struct bootstrap_inode *inode = entry->inode;

	if (entry->again)
		return 0;
	r->now = view_add(r->view);
	take_fields(r, inode);
	if (bootstrap_xattrs(r->b, inode, take_xattr, r, err) < 0)
		return -1;
	if (S_ISDIR(inode->inode.mode))
		return bootstrap_readdir(r->b, inode, take_name, r, NULL, err);
	if (S_ISLNK(inode->inode.mode))
		return read_link(r, inode, err);
	return S_ISREG(inode->inode.mode) ? read_data(r, inode, err) : 0;
}

int view_by_reader(struct view *v, int fd, const struct view_device *devices, struct error **err)
{
	CLEANUP_BOOTSTRAP struct bootstrap *b = bootstrap_open(fd, err);
	struct reader r = { .view = v, .b = b, .devices = devices };
	const struct bootstrap_walker walker = { take_entry, NULL, &r };

	if (!b || bootstrap_walk(b, &walker, err) < 0)
		return -1;
	view_sort(v);
	return 0;
}
