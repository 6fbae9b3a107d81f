// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/tree/apply.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fmt/acl.h"
#include "fmt/capability.h"
#include "fmt/erofs.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/tree/resolve.h"

/* A hard link whose target had not come yet: an inode of mode 0 holds its place. */
struct pending {
	uint32_t inode; /* the place holder; its target path is inode->target */
	uint32_t name; /* which names it, unless a later entry took that away */
	bool visiting;
};

enum { WARNED_MAX = 100 };

struct apply {
	struct tree *tree;
	uint16_t layer; /* 1 and up */
	struct path_parts parts, link_parts;
	struct resolved at;
	uint32_t *pairs; /* of the entry's xattrs */
	size_t pairs_cap;
	struct pending *pending;
	size_t n_pending, pending_cap;
	char *warned[WARNED_MAX]; /* names of xattrs */
	size_t n_warned;
	/* where the last entry went: entries of one directory mostly follow each other */
	char *last_prefix; /* its path up to its last part, as the layer spells it */
	size_t last_len, last_cap;
	uint32_t last_dir; /* 0: not known */
};

struct apply *apply_new(struct tree *tree)
{
	struct apply *a = xzalloc(sizeof(*a));

	a->tree = tree;
	return a;
}

void apply_free(struct apply *a)
{
	if (!a)
		return;
	path_parts_free(&a->parts);
	path_parts_free(&a->link_parts);
	path_parts_free(&a->at.missing);
	for (size_t i = 0; i < a->n_warned; i++)
		free(a->warned[i]);
	free(a->pairs);
	free(a->pending);
	free(a->last_prefix);
	free(a);
}

int apply_begin_layer(struct apply *a, struct error **err)
{
	if (a->layer == UINT16_MAX)
		return error_set(err, 0, "the image has more than %d layers", UINT16_MAX);
	a->layer++;
	a->at.steps = 0;
	return 0;
}

/* A removal, like a new symlink, can change where a path leads that led somewhere before. */
static void remove_name(struct apply *a, uint32_t name)
{
	a->last_dir = 0;
	tree_remove(a->tree, name);
}

/*
 * This layer has touched `name`: that protects it, and every directory above it, from this
 * layer's own whiteouts. Where one is marked, all above it are.
 */
static void mark(struct apply *a, uint32_t name)
{
	while (name && tree_name(a->tree, name)->layer != a->layer) {
		tree_name(a->tree, name)->layer = a->layer;
		name = tree_inode(a->tree, tree_name(a->tree, name)->dir)->dir.self;
	}
}

/* What a directory is that no entry names (docs/design.md, decision 6). */
static void forget_metadata(struct tree_inode *dir)
{
	dir->mode = S_IFDIR | 0755;
	dir->uid = dir->gid = 0;
	dir->mtime = 0;
	dir->mtime_nsec = 0;
	dir->xattrs = 0;
}

/*
 * This layer hides what lower ones say of a directory, but has put something into it: it
 * stays, with no more than this layer says of it.
 */
static void hide_below(struct apply *a, struct tree_inode *dir)
{
	dir->mark = a->layer;
	if (dir->layer != a->layer)
		forget_metadata(dir);
}

/* Remove what lower layers left in a directory: a second time in one layer finds nothing. */
static void purge_once(struct apply *a, uint32_t dir)
{
	struct tree *t = a->tree;
	uint32_t name, next;

	if (tree_inode(t, dir)->mark == a->layer)
		return;
	tree_inode(t, dir)->mark = a->layer;
	for (name = tree_walk(t, dir, 0, false); name; name = next) {
		const struct tree_name *n = tree_name(t, name);
		struct tree_inode *inode = tree_inode(t, n->inode);
		bool gone = n->layer != a->layer;
		bool purged = S_ISDIR(inode->mode) && inode->mark == a->layer;

		if (!gone && S_ISDIR(inode->mode))
			hide_below(a, inode);
		next = tree_walk(t, dir, name, gone || purged);
		if (gone)
			remove_name(a, name);
	}
}

static bool begins_with(struct path_part part, const char *prefix)
{
	size_t len = strlen(prefix);

	return part.len >= len && !memcmp(part.name, prefix, len);
}

static bool is_word(struct path_part part, const char *word)
{
	return part.len == strlen(word) && !memcmp(part.name, word, part.len);
}

/*
 * ".wh.NAME" hides NAME, ".wh..wh..opq" all of its directory, in lower layers only and
 * wherever they stand in their own; other ".wh..wh.*" are AUFS's bookkeeping.
 */
static int apply_whiteout(struct apply *a, struct error **err)
{
	struct path_part base = a->parts.of[a->parts.n - 1];
	bool opaque = is_word(base, ".wh..wh..opq");
	struct tree *t = a->tree;
	uint32_t name, dir;

	if (!opaque && begins_with(base, ".wh..wh."))
		return 0;
	base.name += strlen(".wh.");
	base.len -= strlen(".wh.");
	if (!base.len || is_word(base, ".") || is_word(base, ".."))
		return error_set(err, 0, "whiteout names nothing that it could hide");
	if (resolve_dir(t, &a->parts, a->parts.n - 1, &a->at, err) < 0)
		return -1;
	if (a->at.missing.n)
		return 0;
	if (opaque) {
		purge_once(a, a->at.dir);
		return 0;
	}
	name = tree_find(t, a->at.dir, base.name, base.len);
	if (!name)
		return 0;
	if (tree_name(t, name)->layer != a->layer) {
		remove_name(a, name);
		return 0;
	}
	if (!tree_is_dir(t, tree_name(t, name)->inode))
		return 0;
	dir = tree_name(t, name)->inode;
	if (tree_inode(t, dir)->layer != a->layer)
		forget_metadata(tree_inode(t, dir));
	purge_once(a, dir);
	return 0;
}

static int check_name(struct path_part part, struct error **err)
{
	if (part.len <= EROFS_NAME_MAX)
		return 0;
	return error_set(
		err, 0, "a name of %zu bytes; Linux takes %u at most", part.len, EROFS_NAME_MAX);
}

/* What is in the way of a directory: a file of some kind, which gives way. */
static uint32_t make_dir(struct apply *a, uint32_t dir, struct path_part part, struct error **err)
{
	uint32_t old = tree_find(a->tree, dir, part.name, part.len), inode;

	if (check_name(part, err) < 0)
		return 0;
	if (old)
		remove_name(a, old);
	inode = tree_new_inode(a->tree, S_IFDIR | 0755, err);
	if (!inode || !tree_link(a->tree, dir, part.name, part.len, inode, err))
		return 0;
	return inode;
}

/* The directory of the entry's path; parents that no entry names are 0755 root:root, mtime 0. */
static uint32_t find_parent_dir(struct apply *a, struct error **err)
{
	uint32_t dir;

	if (resolve_dir(a->tree, &a->parts, a->parts.n - 1, &a->at, err) < 0)
		return 0;
	dir = a->at.dir;
	for (size_t i = 0; dir && i < a->at.missing.n; i++)
		dir = make_dir(a, dir, a->at.missing.of[i], err);
	return dir;
}

static uint32_t parent_dir(struct apply *a, const struct entry *e, struct error **err)
{
	size_t len = (size_t)(a->parts.of[a->parts.n - 1].name - e->path);

	if (a->last_dir && len == a->last_len && (!len || !memcmp(e->path, a->last_prefix, len)))
		return a->last_dir;
	a->last_dir = find_parent_dir(a, err);
	if (len > a->last_cap) {
		a->last_cap = len + 256;
		a->last_prefix = xrealloc_array(a->last_prefix, a->last_cap, 1);
	}
	if (len)
		memcpy(a->last_prefix, e->path, len);
	a->last_len = len;
	return a->last_dir;
}

static void warn_xattr(struct apply *a, const struct entry *e, const char *name, const char *why)
{
	CLEANUP_FREE char *path = NULL;

	for (size_t i = 0; i < a->n_warned; i++)
		if (!strcmp(a->warned[i], name))
			return;
	if (a->n_warned == WARNED_MAX)
		return;
	a->warned[a->n_warned++] = xstrdup(name);
	path = text_shown(e->path);
	log_warn("%s: xattr %s is left out: %s (said once for each name)", path, name, why);
	if (a->n_warned == WARNED_MAX)
		log_warn("more xattrs are left out; their names are not shown");
}

/*
 * What setting an ACL does in the kernel: the mode follows it, one that says no more than the
 * mode is not kept, symlinks have none and only directories a default one.
 */
static const char *take_acl(struct tree_inode *inode, const struct entry_xattr *x,
	const struct erofs_xattr_name *name, bool *keep)
{
	bool access = name->index == EROFS_XATTR_ACL_ACCESS;
	struct fault fault;
	struct acl acl;

	if (acl_decode(&acl, x->value, x->value_len, &fault) < 0)
		return fault.what;
	if (S_ISLNK(inode->mode))
		return "symlinks have no ACL";
	if (!access && !S_ISDIR(inode->mode))
		return "only directories have a default ACL";
	*keep = !access || !acl.mode_only;
	if (access)
		inode->mode = (uint16_t)((inode->mode & ~0777) | acl.mode);
	return NULL;
}

/* Why EROFS cannot hold it, or NULL; *keep says whether to store it. */
static const char *check_xattr(
	struct tree_inode *inode, const struct entry_xattr *x, uint32_t *total, bool *keep)
{
	struct erofs_xattr_name name;
	uint32_t size;

	*keep = true;
	if (!erofs_xattr_split(&name, x->name, strlen(x->name)))
		return "EROFS has no place for this kind of name";
	if (x->value_len > EROFS_XATTR_VALUE_MAX)
		return "its value is longer than 65,535 bytes";
	if (name.index == EROFS_XATTR_USER && !S_ISREG(inode->mode) && !S_ISDIR(inode->mode))
		return "only files and directories have xattrs of users";
	if (!strcmp(x->name, CAPABILITY_XATTR) && !capability_is_valid(x->value, x->value_len))
		return "Linux does not take such a value";
	size = erofs_xattr_entry_size(name.suffix_len, (uint32_t)x->value_len);
	if (size > EROFS_XATTR_TOTAL_MAX - *total)
		return "the file's xattrs are larger than 256 KiB";
	if (name.index == EROFS_XATTR_ACL_ACCESS || name.index == EROFS_XATTR_ACL_DEFAULT) {
		const char *why = take_acl(inode, x, &name, keep);

		if (why)
			return why;
	}
	if (*keep)
		*total += size;
	return NULL;
}

static uint32_t take_xattrs(struct apply *a, struct tree_inode *inode, const struct entry *e)
{
	uint32_t total = EROFS_XATTR_HEADER_SIZE;
	size_t n = 0;

	for (size_t i = 0; i < e->n_xattrs; i++) {
		const struct entry_xattr *x = &e->xattrs[i];
		bool keep;
		const char *why = check_xattr(inode, x, &total, &keep);

		if (why)
			warn_xattr(a, e, x->name, why);
		if (why || !keep)
			continue;
		a->pairs = xgrow(a->pairs, n, &a->pairs_cap, sizeof(*a->pairs));
		a->pairs[n++] = xattr_intern_pair(
			&a->tree->xattrs, x->name, x->value, (uint32_t)x->value_len);
	}
	return xattr_intern_set(&a->tree->xattrs, a->pairs, (uint32_t)n);
}

static void set_metadata(struct apply *a, uint32_t id, const struct entry *e)
{
	struct tree_inode *inode = tree_inode(a->tree, id);

	inode->layer = a->layer;
	inode->mode = (uint16_t)((inode->mode & S_IFMT) | e->mode);
	inode->uid = e->uid;
	inode->gid = e->gid;
	inode->mtime = e->mtime;
	inode->mtime_nsec = e->mtime_nsec;
	inode->xattrs = e->n_xattrs ? take_xattrs(a, inode, e) : 0;
}

static int fill_symlink(struct tree_inode *inode, const struct entry *e, struct error **err)
{
	size_t len = strlen(e->link);

	if (!len)
		return error_set(err, 0, "symlink without a target");
	if (len > EROFS_SYMLINK_MAX)
		return error_set(err, 0,
			"symlink target of %zu bytes; Linux follows at most %u in EROFS", len,
			EROFS_SYMLINK_MAX);
	inode->target = xstrdup(e->link);
	inode->size = len;
	return 0;
}

static int fill_device(struct tree_inode *inode, const struct entry *e, struct error **err)
{
	if (e->major > EROFS_DEV_MAJOR_MAX || e->minor > EROFS_DEV_MINOR_MAX)
		return error_set(err, 0, "device number %u:%u; EROFS holds at most %u:%u", e->major,
			e->minor, EROFS_DEV_MAJOR_MAX, EROFS_DEV_MINOR_MAX);
	inode->dev.major = e->major;
	inode->dev.minor = e->minor;
	return 0;
}

static uint16_t type_mode(enum entry_type type)
{
	switch (type) {
	case ENTRY_FILE:
		return S_IFREG;
	case ENTRY_DIR:
		return S_IFDIR;
	case ENTRY_SYMLINK:
		return S_IFLNK;
	case ENTRY_CHAR:
		return S_IFCHR;
	case ENTRY_BLOCK:
		return S_IFBLK;
	case ENTRY_FIFO:
		return S_IFIFO;
	case ENTRY_HARDLINK:
		break;
	}
	return 0;
}

/* Enter `inode` under the entry's last part in `dir`, and protect it from whiteouts. */
static uint32_t enter(struct apply *a, uint32_t dir, uint32_t inode, struct error **err)
{
	struct path_part base = a->parts.of[a->parts.n - 1];
	uint32_t name = tree_link(a->tree, dir, base.name, base.len, inode, err);

	mark(a, name);
	return name;
}

/* A file that takes a file's place takes its name over; else the name is new, or made anew. */
static bool put_in_place(
	struct apply *a, uint32_t dir, uint32_t old, uint32_t inode, struct error **err)
{
	struct tree *t = a->tree;

	if (!old || tree_is_dir(t, inode) || tree_is_dir(t, tree_name(t, old)->inode)) {
		if (old)
			remove_name(a, old);
		return enter(a, dir, inode, err) != 0;
	}
	a->last_dir = 0; /* it may have been a symlink */
	tree_relink(t, old, inode);
	mark(a, old);
	return true;
}

/* The entry's own inode, under its name in `dir`, in place of `old` if that is not 0. */
static int add_inode(struct apply *a, uint32_t dir, uint32_t old, const struct entry *e,
	uint32_t *file, struct error **err)
{
	uint32_t id = tree_new_inode(a->tree, type_mode(e->type), err);
	struct tree_inode *inode;

	if (!id || !put_in_place(a, dir, old, id, err))
		return -1;
	inode = tree_inode(a->tree, id);
	set_metadata(a, id, e);
	switch (e->type) {
	case ENTRY_FILE:
		inode->size = e->size;
		*file = id;
		return 0;
	case ENTRY_SYMLINK:
		a->last_dir = 0;
		return fill_symlink(inode, e, err);
	case ENTRY_CHAR:
	case ENTRY_BLOCK:
		return fill_device(inode, e, err);
	default:
		return 0;
	}
}

/* The name that a hard link's target path leads to: 0 when there is none. */
static int find_target(struct apply *a, const char *target, uint32_t *name, struct error **err)
{
	struct path_part base;

	*name = 0;
	path_split(&a->link_parts, target);
	if (!a->link_parts.n)
		return error_set(err, 0, "hard link to the root directory");
	if (resolve_dir(a->tree, &a->link_parts, a->link_parts.n - 1, &a->at, err) < 0)
		return -1;
	if (a->at.missing.n)
		return 0;
	base = a->link_parts.of[a->link_parts.n - 1];
	*name = tree_find(a->tree, a->at.dir, base.name, base.len);
	if (*name && tree_is_dir(a->tree, tree_name(a->tree, *name)->inode)) {
		CLEANUP_FREE char *shown = text_shown(target);

		return error_set(err, 0, "hard link to the directory %s", shown);
	}
	return 0;
}

/* Its metadata is its target's: what the entry itself says of that is not used, as in umoci. */
static int add_hardlink(struct apply *a, uint32_t dir, const struct entry *e, struct error **err)
{
	uint32_t target, id, name;

	if (find_target(a, e->link, &target, err) < 0)
		return -1;
	if (target && tree_inode(a->tree, tree_name(a->tree, target)->inode)->mode)
		return enter(a, dir, tree_name(a->tree, target)->inode, err) ? 0 : -1;
	id = tree_new_inode(a->tree, 0, err);
	if (!id || !(name = enter(a, dir, id, err)))
		return -1;
	tree_inode(a->tree, id)->target = xstrdup(e->link);
	a->pending = xgrow(a->pending, a->n_pending, &a->pending_cap, sizeof(*a->pending));
	a->pending[a->n_pending] = (struct pending){ .inode = id, .name = name };
	tree_inode(a->tree, id)->mark = (uint32_t)a->n_pending++;
	return 0;
}

/* Anything in a ".wh." directory is as little there as the directory. */
static bool below_whiteout(const struct path_parts *parts)
{
	for (size_t i = 0; i + 1 < parts->n; i++)
		if (begins_with(parts->of[i], ".wh."))
			return true;
	return false;
}

static int apply_root(struct apply *a, const struct entry *e, struct error **err)
{
	if (e->type != ENTRY_DIR)
		return error_set(err, 0, "the root must be a directory");
	set_metadata(a, a->tree->root, e);
	return 0;
}

static int apply_parts(struct apply *a, const struct entry *e, uint32_t *file, struct error **err)
{
	struct path_part base;
	uint32_t dir, old;

	if (!a->parts.n)
		return apply_root(a, e, err);
	if (below_whiteout(&a->parts))
		return 0;
	base = a->parts.of[a->parts.n - 1];
	if (begins_with(base, ".wh."))
		return apply_whiteout(a, err);
	if (check_name(base, err) < 0 || !(dir = parent_dir(a, e, err)))
		return -1;
	old = tree_find(a->tree, dir, base.name, base.len);
	if (old && e->type == ENTRY_DIR && tree_is_dir(a->tree, tree_name(a->tree, old)->inode)) {
		set_metadata(a, tree_name(a->tree, old)->inode, e);
		mark(a, old);
		return 0;
	}
	if (e->type != ENTRY_HARDLINK)
		return add_inode(a, dir, old, e, file, err);
	if (old)
		remove_name(a, old);
	return add_hardlink(a, dir, e, err);
}

int apply_entry(struct apply *a, const struct entry *e, uint32_t *file, struct error **err)
{
	*file = 0;
	path_split(&a->parts, e->path);
	if (apply_parts(a, e, file, err) < 0) {
		CLEANUP_FREE char *path = text_shown(e->path);

		return error_wrap(err, "%s", path);
	}
	return 0;
}

/* Is the place holder still in the tree, or did a later entry take its name? */
static bool is_current(const struct apply *a, size_t i)
{
	const struct tree_inode *inode = tree_inode(a->tree, a->pending[i].inode);

	return inode->mode == 0 && inode->target && inode->mark == i &&
	       tree_name(a->tree, a->pending[i].name)->inode == a->pending[i].inode;
}

/* Put the name that held the place on the target's inode. */
static int settle(struct apply *a, const struct pending *p, uint32_t target, struct error **err)
{
	struct tree_name old = *tree_name(a->tree, p->name);
	uint32_t name;

	remove_name(a, p->name);
	name = tree_link(a->tree, old.dir, old.name, old.len, target, err);
	mark(a, name);
	return name ? 0 : -1;
}

static int no_target(struct apply *a, const struct pending *p, const char *why, struct error **err)
{
	CLEANUP_FREE char *path = tree_path(a->tree, p->name);
	CLEANUP_FREE char *shown = text_shown(path);
	CLEANUP_FREE char *target = text_shown(tree_inode(a->tree, p->inode)->target);

	return error_set(err, 0, "%s: hard link to %s, %s", shown, target, why);
}

/*
 * Settle pending link i. Where its target is pending too, that one comes first: `chain` is the
 * stack of those on the way, with room for all.
 */
static int settle_chain(struct apply *a, size_t i, size_t *chain, struct error **err)
{
	size_t n = 0;

	chain[n++] = i;
	while (n) {
		struct pending *p = &a->pending[chain[n - 1]];
		uint32_t name, inode;

		if (find_target(a, tree_inode(a->tree, p->inode)->target, &name, err) < 0)
			return -1;
		if (!name)
			return no_target(a, p, "which is not there", err);
		inode = tree_name(a->tree, name)->inode;
		if (tree_inode(a->tree, inode)->mode) {
			if (settle(a, p, inode, err) < 0)
				return -1;
			n--;
			continue;
		}
		if (p->visiting)
			return no_target(a, p, "which is a hard link back to it", err);
		p->visiting = true;
		chain[n++] = tree_inode(a->tree, inode)->mark;
	}
	return 0;
}

int apply_end_layer(struct apply *a, struct error **err)
{
	CLEANUP_FREE size_t *chain = xcalloc(a->n_pending + 1, sizeof(*chain));

	for (size_t i = 0; i < a->n_pending; i++)
		if (is_current(a, i) && settle_chain(a, i, chain, err) < 0)
			return -1;
	a->n_pending = 0;
	return 0;
}
