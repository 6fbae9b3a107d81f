// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/bootstrap/layout.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"

/* ---- names in order ---- */

struct sort_key {
	const char *name;
	uint32_t id;
	uint8_t len;
};

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int c = memcmp(a, b, a_len < b_len ? a_len : b_len);

	if (c)
		return c;
	return (a_len > b_len) - (a_len < b_len);
}

static int compare_keys(const void *a, const void *b)
{
	const struct sort_key *x = a, *y = b;

	return compare_bytes(x->name, x->len, y->name, y->len);
}

struct sort_keys {
	struct sort_key *of;
	size_t cap;
};

static void free_keys(struct sort_keys *keys)
{
	free(keys->of);
}

static void sort_dir(struct tree *tree, struct tree_inode *dir, struct sort_keys *keys)
{
	size_t n = 0;
	uint32_t *link = &dir->dir.first, prev = 0;

	for (uint32_t id = dir->dir.first; id; id = tree_name(tree, id)->next) {
		const struct tree_name *name = tree_name(tree, id);

		keys->of = xgrow(keys->of, n, &keys->cap, sizeof(*keys->of));
		keys->of[n++] = (struct sort_key){ name->name, id, name->len };
	}
	if (n > 1)
		qsort(keys->of, n, sizeof(*keys->of), compare_keys);
	for (size_t i = 0; i < n; i++) {
		struct tree_name *name = tree_name(tree, keys->of[i].id);

		*link = keys->of[i].id;
		link = &name->next;
		name->prev = prev;
		prev = keys->of[i].id;
	}
	*link = 0;
}

void layout_sort(struct tree *tree)
{
	CLEANUP(free_keys) struct sort_keys keys = { 0 };

	for (uint32_t i = 1; i <= tree->inodes.count; i++)
		if (tree_is_dir(tree, i))
			sort_dir(tree, tree_inode(tree, i), &keys);
}

/* ---- directories ---- */

void dir_iter_init(struct dir_iter *it, const struct tree *tree, uint32_t dir)
{
	*it = (struct dir_iter){
		.tree = tree,
		.dir = dir,
		.next = tree_inode(tree, dir)->dir.first,
	};
}

/* The entry that comes next, without taking it. False at the end. */
static bool dir_iter_peek(const struct dir_iter *it, struct dir_entry *entry)
{
	const struct tree_name *name = it->next ? tree_name(it->tree, it->next) : NULL;
	uint32_t dot_len = it->dots + 1u;

	if (it->dots < 2 && (!name || compare_bytes("..", dot_len, name->name, name->len) < 0)) {
		*entry = (struct dir_entry){ "..", dot_len,
			it->dots ? tree_parent(it->tree, it->dir) : it->dir };
		return true;
	}
	if (!name)
		return false;
	*entry = (struct dir_entry){ name->name, name->len, name->inode };
	return true;
}

static void dir_iter_take(struct dir_iter *it, const struct dir_entry *entry)
{
	if (it->next && entry->name == tree_name(it->tree, it->next)->name)
		it->next = tree_name(it->tree, it->next)->next;
	else
		it->dots++;
}

unsigned dir_iter_block(
	struct dir_iter *it, struct dir_entry entries[static DIR_BLOCK_ENTRIES], uint32_t *used)
{
	struct dir_entry entry;
	unsigned n = 0;

	*used = 0;
	while (dir_iter_peek(it, &entry)) {
		uint32_t size = EROFS_DIRENT_SIZE + entry.len;

		if (*used + size > EROFS_BLOCK_SIZE)
			break;
		dir_iter_take(it, &entry);
		entries[n++] = entry;
		*used += size;
	}
	return n;
}

/* All blocks but the last are full: the size runs to the last one's last name. */
static uint64_t dir_size(const struct tree *tree, uint32_t dir)
{
	struct dir_entry entries[DIR_BLOCK_ENTRIES];
	struct dir_iter it;
	uint64_t full = 0;
	uint32_t used, last = 0;

	dir_iter_init(&it, tree, dir);
	while (dir_iter_block(&it, entries, &used)) {
		full += last ? EROFS_BLOCK_SIZE : 0;
		last = used;
	}
	return full + last;
}

/* ---- the epoch ---- */

struct stamp {
	int64_t sec;
	uint32_t nsec;
};

static int compare_stamps(const void *a, const void *b)
{
	const struct stamp *x = a, *y = b;

	if (x->sec != y->sec)
		return x->sec < y->sec ? -1 : 1;
	return (x->nsec > y->nsec) - (x->nsec < y->nsec);
}

static void common_fields(struct erofs_inode *out, const struct tree_inode *in)
{
	*out = (struct erofs_inode){
		.mode = in->mode,
		.nlink = in->nlink,
		.size = in->size,
		.uid = in->uid,
		.gid = in->gid,
		.mtime = in->mtime,
		.mtime_nsec = in->mtime_nsec,
	};
}

void layout_choose_epoch(struct layout *l)
{
	CLEANUP_FREE struct stamp *stamps = xcalloc(l->tree->n_inodes, sizeof(*stamps));
	size_t n = 0, best = 0;

	for (uint32_t i = 1; i <= l->tree->inodes.count; i++) {
		const struct tree_inode *in = tree_inode(l->tree, i);
		struct erofs_inode inode;

		common_fields(&inode, in);
		if (in->mode && erofs_inode_is_compact(&inode, in->mtime, in->mtime_nsec))
			stamps[n++] = (struct stamp){ in->mtime, in->mtime_nsec };
	}
	qsort(stamps, n, sizeof(*stamps), compare_stamps);
	l->epoch = 0;
	l->epoch_nsec = 0;
	for (size_t i = 0, j; i < n; i = j) {
		for (j = i; j < n && !compare_stamps(&stamps[i], &stamps[j]); j++)
			;
		if (j - i <= best)
			continue;
		best = j - i;
		l->epoch = stamps[i].sec;
		l->epoch_nsec = stamps[i].nsec;
	}
}

/* ---- one inode ---- */

/*
 * Flat data behind the inode: whole blocks in the data area, the rest inline if that can be.
 * An inline tail must not cross a block boundary (the kernel says EUCLEAN): the inode moves on
 * to where its tail begins a block, unless the gap is larger than what a block of its own
 * would waste.
 */
static void place_flat(struct placed *p, uint32_t header)
{
	uint64_t size = p->inode.size, tail = size % EROFS_BLOCK_SIZE;
	uint64_t data = p->offset + header, room = EROFS_BLOCK_SIZE - data % EROFS_BLOCK_SIZE;
	uint64_t gap = 0;

	p->inode.layout = EROFS_FLAT_PLAIN;
	p->blocks = size / EROFS_BLOCK_SIZE;
	p->tail = 0;
	p->data_offset = data;
	if (!tail)
		return;
	if (tail > room)
		gap = (room + EROFS_SLOT_SIZE - 1) & ~(uint64_t)(EROFS_SLOT_SIZE - 1);
	room = EROFS_BLOCK_SIZE - (data + gap) % EROFS_BLOCK_SIZE;
	if (tail > room || gap > EROFS_BLOCK_SIZE - tail) {
		p->blocks++;
		return;
	}
	p->inode.layout = EROFS_FLAT_INLINE;
	p->offset += gap;
	p->data_offset += gap;
	p->tail = tail;
}

static bool continues(const struct tree_extent *a, const struct tree_extent *b)
{
	return a->device == b->device &&
	       (!a->device || (uint64_t)a->blk + a->n_blk == (uint64_t)b->blk);
}

/* The largest chunk that no boundary between runs falls into. */
static unsigned chunk_bits_of(const struct tree_inode *in)
{
	uint64_t at = 0, boundaries = 0, blocks;
	unsigned bits = 0;

	for (uint32_t i = 0; in->extents && i + 1 < in->extents->n; i++) {
		const struct tree_extent *e = &in->extents->of[i];

		at += e->n_blk;
		if (!continues(e, e + 1))
			boundaries |= at;
	}
	blocks = in->size / EROFS_BLOCK_SIZE + (in->size % EROFS_BLOCK_SIZE != 0);
	while (bits < EROFS_CHUNK_BITS_MAX && (UINT64_C(1) << bits) < blocks &&
		!(boundaries >> bits & 1))
		bits++;
	return bits;
}

static void place_chunked(struct placed *p, const struct tree_inode *in, uint32_t header)
{
	uint64_t chunk;

	p->inode.layout = EROFS_CHUNKED;
	p->chunk_bits = chunk_bits_of(in);
	p->inode.u = erofs_chunk_format(p->chunk_bits);
	chunk = (uint64_t)EROFS_BLOCK_SIZE << p->chunk_bits;
	p->chunks = in->size / chunk + (in->size % chunk != 0);
	p->data_offset = (p->offset + header + 7) & ~UINT64_C(7);
}

static void place_inode(const struct layout *l, uint32_t id, uint64_t offset, struct placed *p)
{
	const struct tree_inode *in = tree_inode(l->tree, id);
	const struct xattr_bytes *xattrs = &l->xattrs->sets[in->xattrs];
	uint32_t header;

	*p = (struct placed){ .offset = offset };
	common_fields(&p->inode, in);
	if (S_ISDIR(in->mode))
		p->inode.size = dir_size(l->tree, id);
	p->inode.extended = !erofs_inode_is_compact(&p->inode, l->epoch, l->epoch_nsec);
	if (xattrs->size)
		p->inode.xattr_count = (uint16_t)((xattrs->size - EROFS_XATTR_HEADER_SIZE) / 4 + 1);
	header = erofs_inode_size(&p->inode) + xattrs->size;
	if (S_ISREG(in->mode) && in->size)
		place_chunked(p, in, header);
	else
		place_flat(p, header);
	if (S_ISCHR(in->mode) || S_ISBLK(in->mode))
		p->inode.u = erofs_encode_dev(in->dev.major, in->dev.minor);
	else if (p->blocks)
		p->inode.u = (uint32_t)l->data_blocks;
}

/* ---- all inodes ---- */

struct run {
	struct layout *l;
	int (*each)(void *arg, uint32_t inode, const struct placed *placed, struct error **err);
	void *arg;
	uint64_t at;
	uint32_t *dirs; /* placed, their children not yet */
	size_t n_dirs, cap;
};

static void free_run(struct run *r)
{
	free(r->dirs);
}

static int place_next(struct run *r, uint32_t id, struct error **err)
{
	struct layout *l = r->l;
	struct tree_inode *in = tree_inode(l->tree, id);
	struct placed p;

	place_inode(l, id, r->at, &p);
	if (p.offset / EROFS_SLOT_SIZE > UINT32_MAX - 1 || l->data_blocks + p.blocks > UINT32_MAX)
		return error_set(err, 0, "the image's metadata is larger than 128 GiB");
	in->mark = (uint32_t)(p.offset / EROFS_SLOT_SIZE);
	l->data_blocks += p.blocks;
	l->chunk_indexes += p.chunks;
	l->compact += !p.inode.extended;
	p.inode.ino = (uint32_t)++l->inodes;
	r->at = p.data_offset + p.tail + p.chunks * EROFS_CHUNK_INDEX_SIZE;
	r->at = (r->at + EROFS_SLOT_SIZE - 1) & ~(uint64_t)(EROFS_SLOT_SIZE - 1);
	l->meta_end = p.data_offset + p.tail + p.chunks * EROFS_CHUNK_INDEX_SIZE;
	if (S_ISDIR(in->mode)) {
		r->dirs = xgrow(r->dirs, r->n_dirs, &r->cap, sizeof(*r->dirs));
		r->dirs[r->n_dirs++] = id;
	}
	return r->each(r->arg, id, &p, err);
}

/* A hard link's inode stands where its first name is; `placed` has a bit for each that stands. */
static int place_children(struct run *r, uint32_t dir, uint8_t *placed, struct error **err)
{
	struct tree *tree = r->l->tree;

	for (uint32_t id = tree_inode(tree, dir)->dir.first; id; id = tree_name(tree, id)->next) {
		uint32_t inode = tree_name(tree, id)->inode;

		if (tree_inode(tree, inode)->nlink > 1 && !tree_is_dir(tree, inode)) {
			if (placed[inode / 8] & 1u << inode % 8)
				continue;
			placed[inode / 8] |= (uint8_t)(1u << inode % 8);
		}
		if (place_next(r, inode, err) < 0)
			return -1;
	}
	return 0;
}

int layout_run(struct layout *l,
	int (*each)(void *arg, uint32_t inode, const struct placed *placed, struct error **err),
	void *arg, struct error **err)
{
	CLEANUP(free_run) struct run r = { .l = l, .each = each, .arg = arg, .at = l->start };
	CLEANUP_FREE uint8_t *placed = xzalloc(l->tree->inodes.count / 8 + 1);

	l->data_blocks = l->inodes = l->compact = l->chunk_indexes = 0;
	if (place_next(&r, l->tree->root, err) < 0)
		return -1;
	for (size_t i = 0; i < r.n_dirs; i++)
		if (place_children(&r, r.dirs[i], placed, err) < 0)
			return -1;
	return 0;
}
