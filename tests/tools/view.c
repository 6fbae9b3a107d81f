// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "tests/tools/view.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "lib/base/mem.h"

#define WHOLE_MAX  (UINT64_C(4) << 20) /* files up to here are read whole */
#define PIECE_SIZE UINT64_C(8192)

void view_free(struct view *v)
{
	free(v->of);
	*v = (struct view){ 0 };
}

struct view_inode *view_add(struct view *v)
{
	v->of = xgrow(v->of, v->n, &v->cap, sizeof(*v->of));
	v->of[v->n] = (struct view_inode){ 0 };
	return &v->of[v->n++];
}

static int compare_nids(const void *a, const void *b)
{
	const struct view_inode *x = a, *y = b;

	return (x->nid > y->nid) - (x->nid < y->nid);
}

void view_sort(struct view *v)
{
	size_t n = 0;

	if (v->n)
		qsort(v->of, v->n, sizeof(*v->of), compare_nids);
	for (size_t i = 0; i < v->n; i++)
		if (!n || v->of[n - 1].nid != v->of[i].nid)
			v->of[n++] = v->of[i];
	v->n = n;
}

uint64_t view_hash(uint64_t seed, const void *p, size_t len)
{
	return XXH3_64bits_withSeed(p, len, seed);
}

uint64_t view_hash_stat(const struct view_stat *st)
{
	const uint64_t fields[] = { st->mode, st->nlink, st->uid, st->gid, st->major, st->minor,
		st->size };

	return view_hash(0, fields, sizeof(fields));
}

uint64_t view_hash_time(int64_t sec, uint32_t nsec)
{
	const uint64_t fields[] = { (uint64_t)sec, nsec };

	return view_hash(0, fields, sizeof(fields));
}

uint64_t view_hash_xattr(const char *name, size_t name_len, const void *value, size_t value_len)
{
	uint64_t h = view_hash(1, name, name_len);

	if (!memcmp(name, "system.", 7) || !strcmp(name, "security.capability"))
		return h;
	return view_hash(h, value, value_len);
}

bool view_piece(uint64_t size, unsigned i, uint64_t *offset, uint64_t *len)
{
	if (size <= WHOLE_MAX) {
		*offset = 0;
		*len = size;
		return i == 0 && size;
	}
	/* evenly spread, the last one at the end; not where blocks begin */
	*offset = i == VIEW_PIECES_MAX - 1 ? size - PIECE_SIZE : size / VIEW_PIECES_MAX * i;
	*len = PIECE_SIZE;
	return i < VIEW_PIECES_MAX;
}
