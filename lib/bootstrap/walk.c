// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/bootstrap/walk.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"

struct dir {
	uint64_t nid;
	size_t parent; /* in walk.dirs */
	const char *name; /* in the image; NULL for the root */
	size_t len;
};

struct walk {
	const struct bootstrap *b;
	const struct bootstrap_walker *walker;
	struct dir *dirs; /* all that were found; those before `current` are read */
	size_t n_dirs, cap_dirs, current;
	uint64_t subdirs; /* of the current one */
	uint8_t *seen; /* one bit for each NID */
	uint64_t used; /* bytes of metadata that belong to one inode alone */
	bool ended; /* by a fault that the walker did not take, or could not */
};

/* "/usr/bin/x": a name in directory `dir`, or the directory itself. */
static char *path_of(const struct walk *w, size_t dir, const struct bootstrap_name *name)
{
	size_t len = name ? name->len + 1 : 0, at;
	CLEANUP_FREE char *path = NULL;

	for (size_t d = dir; w->dirs[d].name; d = w->dirs[d].parent)
		len += w->dirs[d].len + 1;
	if (!len)
		return xstrdup("/");
	at = len;
	path = xmalloc(len);
	if (name) {
		memcpy(path + (at -= name->len), name->name, name->len);
		path[--at] = '/';
	}
	for (size_t d = dir; w->dirs[d].name; d = w->dirs[d].parent) {
		memcpy(path + (at -= w->dirs[d].len), w->dirs[d].name, w->dirs[d].len);
		path[--at] = '/';
	}
	return text_printable(path, len);
}

char *bootstrap_entry_path(const struct bootstrap_entry *entry)
{
	return path_of(entry->walk, entry->walk->current, entry->name);
}

/* Name the fault's place and hand it over; -1 when the walk shall end. */
static int report(struct walk *w, const struct bootstrap_name *name, struct error **err)
{
	CLEANUP_FREE char *path = path_of(w, w->current, name);

	error_wrap(err, "%s", path);
	if (!w->ended && w->walker->fault && w->walker->fault(w->walker->arg, err) == 0)
		return 0;
	w->ended = true;
	return -1;
}

/* True when the inode comes for the first time. */
static bool mark(struct walk *w, uint64_t nid)
{
	uint8_t bit = (uint8_t)(1u << (nid % 8));
	bool seen = w->seen[nid / 8] & bit;

	w->seen[nid / 8] |= bit;
	return !seen;
}

/*
 * What inodes do not share cannot be more than the image: otherwise a small image whose inodes
 * overlap could keep the walk busy for days.
 */
static int account(struct walk *w, const struct bootstrap_inode *inode, struct error **err)
{
	uint64_t size = S_ISDIR(inode->inode.mode) ? inode->inode.size : 0;

	if (inode->inode.layout == EROFS_FLAT_INLINE)
		size -= size % EROFS_BLOCK_SIZE; /* the tail is among the inode's bytes */
	w->used += bootstrap_inode_bytes(inode) + size;
	if (w->used <= bootstrap_size(w->b))
		return 0;
	w->ended = true;
	return error_set(err, 0, "inodes or directories overlap");
}

static void push_dir(struct walk *w, uint64_t nid, const struct bootstrap_name *name)
{
	w->dirs = xgrow(w->dirs, w->n_dirs, &w->cap_dirs, sizeof(*w->dirs));
	w->dirs[w->n_dirs++] = (struct dir){ .nid = nid,
		.parent = w->current,
		.name = name ? name->name : NULL,
		.len = name ? name->len : 0 };
}

static int visit(struct walk *w, const struct bootstrap_name *name, struct error **err)
{
	struct bootstrap_inode inode;
	struct bootstrap_entry entry = { .inode = &inode, .name = name, .walk = w };
	uint8_t type;

	w->subdirs += name->type == EROFS_FT_DIR;
	if (bootstrap_inode(w->b, name->nid, &inode, err) < 0)
		return -1;
	type = erofs_file_type(inode.inode.mode);
	if (type != name->type)
		return error_set(
			err, 0, "the entry's type is %u, its inode's %u", name->type, type);
	entry.again = !mark(w, name->nid);
	if (entry.again && type == EROFS_FT_DIR)
		return error_set(err, 0, "a directory that is already part of the tree");
	if (!entry.again && account(w, &inode, err) < 0)
		return -1;
	if (type == EROFS_FT_DIR)
		push_dir(w, name->nid, name);
	return w->walker->each(w->walker->arg, &entry, err);
}

static int visit_name(void *arg, const struct bootstrap_name *name, struct error **err)
{
	struct walk *w = arg;

	return visit(w, name, err) ? report(w, name, err) : 0;
}

static int read_dir(struct walk *w, struct error **err)
{
	const struct dir *d = &w->dirs[w->current];
	uint64_t parent, want = w->dirs[d->parent].nid;
	struct bootstrap_inode inode;

	w->subdirs = 0;
	if (bootstrap_inode(w->b, d->nid, &inode, err) < 0 ||
		bootstrap_readdir(w->b, &inode, visit_name, w, &parent, err) < 0)
		return -1;
	if (parent != want)
		return error_set(
			err, 0, "\"..\" is inode %" PRIu64 " instead of %" PRIu64, parent, want);
	/* 1 says that subdirectories are not counted */
	if (inode.inode.nlink != 1 && inode.inode.nlink != w->subdirs + 2)
		return error_set(err, 0, "link count %" PRIu32 ", but %" PRIu64 " subdirectories",
			inode.inode.nlink, w->subdirs);
	return 0;
}

static int visit_root(struct walk *w, struct error **err)
{
	struct bootstrap_inode inode;
	const struct bootstrap_entry entry = { .inode = &inode, .walk = w };

	push_dir(w, bootstrap_super(w->b)->root_nid, NULL);
	w->ended = true; /* without a root there is nothing to go on with */
	if (bootstrap_inode(w->b, w->dirs[0].nid, &inode, err) < 0)
		return -1;
	if (account(w, &inode, err) < 0)
		return -1;
	w->ended = false;
	mark(w, inode.nid);
	return w->walker->each(w->walker->arg, &entry, err);
}

int bootstrap_walk(
	const struct bootstrap *b, const struct bootstrap_walker *walker, struct error **err)
{
	CLEANUP_FREE uint8_t *seen = xzalloc(bootstrap_nids(b) / 8 + 1);
	struct walk w = { .b = b, .walker = walker, .seen = seen };
	int ret = 0;

	if (visit_root(&w, err) && report(&w, NULL, err))
		ret = -1;
	for (; !ret && w.current < w.n_dirs; w.current++)
		if (read_dir(&w, err) && (w.ended || report(&w, NULL, err)))
			ret = -1;
	free(w.dirs);
	return ret;
}
