// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/tree/xattrs.h"

#include <string.h>
#include <xxhash.h>

#include "lib/base/mem.h"

static uint32_t *pair_link(void *arg, uint32_t id)
{
	return &xattr_pair(arg, id)->chain;
}

static uint64_t pair_hash(void *arg, uint32_t id)
{
	return xattr_pair(arg, id)->hash;
}

static uint32_t *set_link(void *arg, uint32_t id)
{
	return &xattr_set(arg, id)->chain;
}

static uint64_t set_hash(void *arg, uint32_t id)
{
	return xattr_set(arg, id)->hash;
}

void xattr_table_init(struct xattr_table *t, uint64_t seed)
{
	t->seed = seed;
	segarray_init(&t->pairs, sizeof(struct xattr_pair));
	segarray_init(&t->sets, sizeof(struct xattr_set));
	lhash_init(&t->pair_index, (struct lhash_owner){ pair_link, pair_hash, t });
	lhash_init(&t->set_index, (struct lhash_owner){ set_link, set_hash, t });
}

void xattr_table_free(struct xattr_table *t)
{
	for (uint32_t i = 1; i <= t->pairs.count; i++) {
		free(xattr_pair(t, i)->name);
		free(xattr_pair(t, i)->value);
	}
	for (uint32_t i = 1; i <= t->sets.count; i++)
		free(xattr_set(t, i)->pairs);
	segarray_free(&t->pairs);
	segarray_free(&t->sets);
	lhash_free(&t->pair_index);
	lhash_free(&t->set_index);
}

static uint64_t hash_pair(
	const struct xattr_table *t, const char *name, const void *value, uint32_t value_len)
{
	uint64_t seed = XXH3_64bits_withSeed(name, strlen(name), t->seed);

	return XXH3_64bits_withSeed(value, value_len, seed);
}

uint32_t xattr_intern_pair(
	struct xattr_table *t, const char *name, const void *value, uint32_t value_len)
{
	uint64_t hash = hash_pair(t, name, value, value_len);
	struct xattr_pair *pair;
	uint32_t id;

	for (id = lhash_first(&t->pair_index, hash); id; id = pair->chain) {
		pair = xattr_pair(t, id);
		if (pair->hash == hash && pair->value_len == value_len &&
			!strcmp(pair->name, name) && !memcmp(pair->value, value, value_len))
			return id;
	}
	id = segarray_add(&t->pairs);
	pair = xattr_pair(t, id);
	pair->name = xstrdup(name);
	pair->value = xmemdup(value, value_len);
	pair->value_len = value_len;
	pair->hash = hash;
	lhash_insert(&t->pair_index, hash, id);
	return id;
}

uint32_t xattr_intern_set(struct xattr_table *t, const uint32_t *pairs, uint32_t n)
{
	uint64_t hash = XXH3_64bits_withSeed(pairs, n * sizeof(*pairs), t->seed);
	struct xattr_set *set;
	uint32_t id;

	if (n == 0)
		return 0;
	for (id = lhash_first(&t->set_index, hash); id; id = set->chain) {
		set = xattr_set(t, id);
		if (set->hash == hash && set->n == n &&
			!memcmp(set->pairs, pairs, n * sizeof(*pairs)))
			return id;
	}
	id = segarray_add(&t->sets);
	set = xattr_set(t, id);
	set->pairs = xmemdup(pairs, n * sizeof(*pairs));
	set->n = n;
	set->hash = hash;
	lhash_insert(&t->set_index, hash, id);
	return id;
}
