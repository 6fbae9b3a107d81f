// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/unpack/links.h"

#include "lib/base/mem.h"

static struct link_first *at(const struct links *l, uint32_t id)
{
	return segarray_at(&l->firsts, id);
}

static uint32_t *chain_of(void *arg, uint32_t id)
{
	return &at(arg, id)->chain;
}

/* NIDs are near each other: multiplied, they spread. */
static uint64_t hash_nid(uint64_t nid)
{
	nid *= UINT64_C(0x9e3779b97f4a7c15);
	return nid ^ nid >> 32;
}

static uint64_t hash_of(void *arg, uint32_t id)
{
	return hash_nid(at(arg, id)->nid);
}

void links_init(struct links *l)
{
	segarray_init(&l->firsts, sizeof(struct link_first));
	lhash_init(&l->by_nid, (struct lhash_owner){ chain_of, hash_of, l });
}

void links_free(struct links *l)
{
	for (uint32_t id = 1; id <= l->firsts.count; id++)
		free(at(l, id)->path);
	segarray_free(&l->firsts);
	lhash_free(&l->by_nid);
}

struct link_first *links_find(struct links *l, const struct unpack_entry *e)
{
	uint64_t nid = e->inode->nid;

	if (e->inode->inode.nlink < 2)
		return NULL;
	for (uint32_t id = lhash_first(&l->by_nid, hash_nid(nid)); id; id = at(l, id)->chain)
		if (at(l, id)->nid == nid)
			return at(l, id);
	return NULL;
}

struct link_first *links_add(struct links *l, const struct unpack_entry *e)
{
	struct link_first *first;
	uint32_t id;

	if (e->inode->inode.nlink < 2 || !(id = segarray_add(&l->firsts)))
		return NULL; /* more than 2^32 inodes do not exist */
	first = at(l, id);
	first->nid = e->inode->nid;
	first->path = xstrdup(e->path);
	lhash_insert(&l->by_nid, hash_nid(first->nid), id);
	return first;
}
