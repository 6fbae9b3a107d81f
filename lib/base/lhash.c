// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/lhash.h"

#include <stdlib.h>

#include "lib/base/mem.h"

enum { SEGMENT_SHIFT = 12, SEGMENT_BUCKETS = 1 << SEGMENT_SHIFT, FIRST_BUCKETS = 64 };

static uint32_t *head(const struct lhash *h, uint32_t bucket)
{
	return &h->segments[bucket >> SEGMENT_SHIFT][bucket & (SEGMENT_BUCKETS - 1)];
}

static void add_segment(struct lhash *h)
{
	h->segments = xgrow(h->segments, h->n_segments, &h->cap, sizeof(*h->segments));
	h->segments[h->n_segments++] = xcalloc(SEGMENT_BUCKETS, sizeof(uint32_t));
}

void lhash_init(struct lhash *h, struct lhash_owner owner)
{
	*h = (struct lhash){
		.owner = owner,
		.n_buckets = FIRST_BUCKETS,
		.low_mask = FIRST_BUCKETS - 1,
	};
	add_segment(h);
}

void lhash_free(struct lhash *h)
{
	for (size_t i = 0; i < h->n_segments; i++)
		free(h->segments[i]);
	free(h->segments);
	*h = (struct lhash){ 0 };
}

static uint32_t bucket_of(const struct lhash *h, uint64_t hash)
{
	uint32_t bucket = (uint32_t)hash & h->low_mask;

	return bucket < h->split ? (uint32_t)hash & (h->low_mask << 1 | 1) : bucket;
}

uint32_t lhash_first(const struct lhash *h, uint64_t hash)
{
	return *head(h, bucket_of(h, hash));
}

/* Split the next bucket in turn: its elements with the next hash bit set move to a new one. */
static void grow(struct lhash *h)
{
	uint32_t bit = h->low_mask + 1, fresh = h->n_buckets++;
	uint32_t *from = head(h, h->split), *to;

	if (fresh >> SEGMENT_SHIFT >= h->n_segments)
		add_segment(h);
	to = head(h, fresh);
	while (*from) {
		uint32_t id = *from, *link = h->owner.link(h->owner.arg, id);

		if (!(h->owner.hash(h->owner.arg, id) & bit)) {
			from = link;
			continue;
		}
		*from = *link;
		*to = id;
		to = link;
	}
	*to = 0;
	if (++h->split == bit) {
		h->split = 0;
		h->low_mask = h->low_mask << 1 | 1;
	}
}

void lhash_insert(struct lhash *h, uint64_t hash, uint32_t id)
{
	uint32_t *first;

	if (h->count++ >= h->n_buckets && h->n_buckets < UINT32_MAX / 2)
		grow(h);
	first = head(h, bucket_of(h, hash));
	*h->owner.link(h->owner.arg, id) = *first;
	*first = id;
}

void lhash_remove(struct lhash *h, uint64_t hash, uint32_t id)
{
	uint32_t *at = head(h, bucket_of(h, hash));

	while (*at && *at != id)
		at = h->owner.link(h->owner.arg, *at);
	if (!*at)
		return;
	*at = *h->owner.link(h->owner.arg, id);
	h->count--;
}
