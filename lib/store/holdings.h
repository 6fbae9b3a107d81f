/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What the store holds, counted. All of it under the store's lock. */
#ifndef STORE_HOLDINGS_H
#define STORE_HOLDINGS_H

#include "lib/store/dir.h"

struct holding {
	struct digest digest; /* of the blob */
	char stem[STORE_STEM_MAX]; /* of its files' names */
	uint64_t taken; /* bytes on the disk */
	uint64_t claim; /* bytes that a live filler may make of it; 0: none */
	struct timespec used; /* last opened, or filled */
	bool orphan; /* a cache without a map: a killed process left it */
	bool evict; /* chosen */
};

struct holdings {
	struct holding *of; /* orphans first, then by last use, the oldest first */
	size_t n, cap;
};

int holdings_read(struct holdings *h, struct store *s, struct error **err);

static inline void cleanup_holdings_(struct holdings *h)
{
	free(h->of);
}
#define CLEANUP_HOLDINGS CLEANUP(cleanup_holdings_)

#endif
