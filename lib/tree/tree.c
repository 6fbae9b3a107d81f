// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/tree/tree.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "lib/base/mem.h"

enum { ARENA_CHUNK = 64 * 1024, ARENA_LINK = sizeof(char *) };

static uint64_t name_hash(const struct tree *t, uint32_t dir, const char *name, size_t len)
{
	return XXH3_64bits_withSeed(name, len, t->index_seed + dir);
}

static uint32_t *index_link(void *arg, uint32_t id)
{
	return &tree_name(arg, id)->chain;
}

static uint64_t index_hash(void *arg, uint32_t id)
{
	const struct tree_name *n = tree_name(arg, id);

	return name_hash(arg, n->dir, n->name, n->len);
}

void tree_init(struct tree *t)
{
	struct error *none = NULL;

	*t = (struct tree){ 0 };
	segarray_init(&t->inodes, sizeof(struct tree_inode));
	segarray_init(&t->names, sizeof(struct tree_name));
	lhash_init(&t->index, (struct lhash_owner){ index_link, index_hash, t });
	/* A seed that nobody can know keeps crafted names from meeting in one chain. */
	if (getrandom(&t->index_seed, sizeof(t->index_seed), GRND_NONBLOCK) < 0)
		t->index_seed = (uintptr_t)t;
	xattr_table_init(&t->xattrs, t->index_seed);
	t->root = tree_new_inode(t, S_IFDIR | 0755, &none);
	tree_inode(t, t->root)->nlink = 2;
}

/* What an inode owns besides its place in the array. */
static void release(struct tree_inode *inode)
{
	switch (inode->mode & S_IFMT) {
	case S_IFREG:
		free(inode->extents);
		break;
	case S_IFLNK:
	case 0:
		free(inode->target);
		break;
	default:
		break;
	}
}

void tree_free(struct tree *t)
{
	for (uint32_t i = 1; i <= t->inodes.count; i++)
		release(tree_inode(t, i));
	segarray_free(&t->inodes);
	segarray_free(&t->names);
	lhash_free(&t->index);
	xattr_table_free(&t->xattrs);
	while (t->arena) {
		char *chunk = t->arena;

		memcpy(&t->arena, chunk, sizeof(t->arena));
		free(chunk);
	}
}

static const char *keep_name(struct tree *t, const char *name, size_t len)
{
	char *p;

	if (!t->arena || t->arena_used + len + 1 > ARENA_CHUNK) {
		char *chunk = xmalloc(ARENA_CHUNK);

		memcpy(chunk, &t->arena, sizeof(t->arena));
		t->arena = chunk;
		t->arena_used = ARENA_LINK;
	}
	p = t->arena + t->arena_used;
	memcpy(p, name, len);
	p[len] = '\0';
	t->arena_used += len + 1;
	return p;
}

bool tree_is_dir(const struct tree *t, uint32_t inode)
{
	return S_ISDIR(tree_inode(t, inode)->mode);
}

/* Free inodes are chained by `mark`, free names by `next`. */
uint32_t tree_new_inode(struct tree *t, uint16_t mode, struct error **err)
{
	uint32_t id = t->free_inode;

	if (id) {
		t->free_inode = tree_inode(t, id)->mark;
		*tree_inode(t, id) = (struct tree_inode){ 0 };
	} else if (!(id = segarray_add(&t->inodes))) {
		error_set(err, 0, "the image has more than 2^32 inodes");
		return 0;
	}
	tree_inode(t, id)->mode = mode;
	t->n_inodes++;
	return id;
}

static void drop_inode(struct tree *t, uint32_t id)
{
	struct tree_inode *inode = tree_inode(t, id);

	release(inode);
	*inode = (struct tree_inode){ .mark = t->free_inode };
	t->free_inode = id;
	t->n_inodes--;
}

uint32_t tree_find(const struct tree *t, uint32_t dir, const char *name, size_t len)
{
	const struct tree_name *n;
	uint32_t id;

	for (id = lhash_first(&t->index, name_hash(t, dir, name, len)); id; id = n->chain) {
		n = tree_name(t, id);
		if (n->dir == dir && n->len == len && !memcmp(n->name, name, len))
			return id;
	}
	return 0;
}

static uint32_t new_name(struct tree *t, struct error **err)
{
	uint32_t id = t->free_name;

	if (id) {
		t->free_name = tree_name(t, id)->next;
		*tree_name(t, id) = (struct tree_name){ 0 };
	} else if (!(id = segarray_add(&t->names))) {
		error_set(err, 0, "the image has more than 2^32 names");
	}
	return id;
}

uint32_t tree_link(struct tree *t, uint32_t dir, const char *name, size_t len, uint32_t inode,
	struct error **err)
{
	struct tree_inode *parent = tree_inode(t, dir), *child = tree_inode(t, inode);
	uint32_t id = new_name(t, err);
	struct tree_name *n;

	if (!id)
		return 0;
	n = tree_name(t, id);
	*n = (struct tree_name){
		.name = keep_name(t, name, len),
		.len = (uint8_t)len,
		.dir = dir,
		.inode = inode,
		.next = parent->dir.first,
	};
	if (n->next)
		tree_name(t, n->next)->prev = id;
	parent->dir.first = id;
	lhash_insert(&t->index, name_hash(t, dir, name, len), id);
	if (S_ISDIR(child->mode)) {
		child->dir.self = id;
		child->nlink = 2;
		parent->nlink++;
	} else {
		child->nlink++;
	}
	return id;
}

static void unlink_file(struct tree *t, uint32_t inode)
{
	if (--tree_inode(t, inode)->nlink == 0)
		drop_inode(t, inode);
}

void tree_relink(struct tree *t, uint32_t name, uint32_t inode)
{
	uint32_t old = tree_name(t, name)->inode;

	tree_inode(t, inode)->nlink++;
	tree_name(t, name)->inode = inode;
	unlink_file(t, old);
}

/* Take one name out; of a directory only when it is empty. */
static void unlink_name(struct tree *t, uint32_t id)
{
	struct tree_name *n = tree_name(t, id);
	struct tree_inode *parent = tree_inode(t, n->dir), *child = tree_inode(t, n->inode);

	lhash_remove(&t->index, name_hash(t, n->dir, n->name, n->len), id);
	if (n->prev)
		tree_name(t, n->prev)->next = n->next;
	else
		parent->dir.first = n->next;
	if (n->next)
		tree_name(t, n->next)->prev = n->prev;
	if (S_ISDIR(child->mode)) {
		parent->nlink--;
		drop_inode(t, n->inode);
	} else {
		unlink_file(t, n->inode);
	}
	*n = (struct tree_name){ .next = t->free_name };
	t->free_name = id;
}

/* The first name in what `name` links to, when that is a directory. */
static uint32_t first_below(const struct tree *t, uint32_t name)
{
	const struct tree_inode *inode = tree_inode(t, tree_name(t, name)->inode);

	return S_ISDIR(inode->mode) ? inode->dir.first : 0;
}

/* Depth first without recursion: go down to a leaf, take it, go on where its parent is. */
void tree_remove(struct tree *t, uint32_t name)
{
	uint32_t at = name;

	for (;;) {
		uint32_t below = first_below(t, at), dir;

		if (below) {
			at = below;
			continue;
		}
		dir = tree_name(t, at)->dir;
		unlink_name(t, at);
		if (at == name)
			return;
		at = tree_inode(t, dir)->dir.self;
	}
}

uint32_t tree_parent(const struct tree *t, uint32_t dir)
{
	uint32_t self = tree_inode(t, dir)->dir.self;

	return self ? tree_name(t, self)->dir : t->root;
}

uint32_t tree_walk(const struct tree *t, uint32_t top, uint32_t name, bool skip)
{
	uint32_t below;

	if (!name)
		return tree_inode(t, top)->dir.first;
	below = skip ? 0 : first_below(t, name);
	if (below)
		return below;
	for (;;) {
		const struct tree_name *n = tree_name(t, name);

		if (n->next)
			return n->next;
		if (n->dir == top)
			return 0;
		name = tree_inode(t, n->dir)->dir.self;
	}
}

char *tree_path(const struct tree *t, uint32_t name)
{
	size_t len = 0;
	char *path, *p;

	for (uint32_t id = name; id; id = tree_inode(t, tree_name(t, id)->dir)->dir.self)
		len += tree_name(t, id)->len + 1u;
	if (!len)
		return xstrdup(".");
	path = xmalloc(len);
	p = path + len;
	for (uint32_t id = name; id; id = tree_inode(t, tree_name(t, id)->dir)->dir.self) {
		const struct tree_name *n = tree_name(t, id);

		*--p = id == name ? '\0' : '/';
		p -= n->len;
		memcpy(p, n->name, n->len);
	}
	return path;
}
