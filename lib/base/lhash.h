/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Linear hashing (Litwin, 1980): a hash table of element numbers that grows by one bucket at a
 * time, never by doubling, so that neither memory nor time has a step. The elements live with
 * the owner, who lends a u32 link in each for the chains. Of a hash the low 32 bits count.
 */
#ifndef BASE_LHASH_H
#define BASE_LHASH_H

#include <stddef.h>
#include <stdint.h>

struct lhash_owner {
	uint32_t *(*link)(void *arg, uint32_t id); /* the chain link in element id */
	uint64_t (*hash)(void *arg, uint32_t id); /* the hash that it was inserted with */
	void *arg;
};

struct lhash {
	struct lhash_owner owner;
	uint32_t **segments; /* bucket heads */
	size_t n_segments, cap;
	uint32_t n_buckets;
	uint32_t low_mask; /* buckets below `split` use one bit more */
	uint32_t split;
	uint32_t count;
};

void lhash_init(struct lhash *h, struct lhash_owner owner);
void lhash_free(struct lhash *h);

/* The first element of the chain that holds all elements of this hash; 0 when empty. */
uint32_t lhash_first(const struct lhash *h, uint64_t hash);

void lhash_insert(struct lhash *h, uint64_t hash, uint32_t id);
void lhash_remove(struct lhash *h, uint64_t hash, uint32_t id);

#endif
