// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Blobs count, without a lock; the engine's figures are the sum, with those of removed ones. */
#include "config.h"

#include "lib/serve/engine/part.h"

void counts_add(uint64_t sum[static N_COUNTS], const struct served_blob *b)
{
	for (int i = 0; i < N_COUNTS; i++)
		sum[i] += atomic_load_explicit(&b->counts[i], memory_order_relaxed);
}

static struct engine_stats stats_of(const uint64_t n[static N_COUNTS])
{
	return (struct engine_stats){
		.wants = n[COUNT_HITS] + n[COUNT_WAITED],
		.hits = n[COUNT_HITS],
		.frames_fetched = n[COUNT_FRAMES],
		.bytes_fetched = n[COUNT_BYTES],
		.frames_waited = n[COUNT_FRAMES_WAITED],
		.requests = n[COUNT_REQUESTS],
		.errors = n[COUNT_ERRORS],
		.bad_frames = n[COUNT_BAD_FRAMES],
		.deadlines = n[COUNT_DEADLINES],
		.waited_us = n[COUNT_WAITED_US],
	};
}

void served_blob_stats(const struct served_blob *b, struct engine_stats *s)
{
	uint64_t sum[N_COUNTS] = { 0 };

	counts_add(sum, b);
	*s = stats_of(sum);
}

void engine_stats(const struct engine *e, struct engine_stats *s)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)&e->lock;
	const struct served_blob *b;
	uint64_t sum[N_COUNTS];

	pthread_mutex_lock(lock);
	for (int i = 0; i < N_COUNTS; i++)
		sum[i] = e->gone[i];
	TAILQ_FOREACH(b, &e->blobs, of_engine)
	counts_add(sum, b);
	pthread_mutex_unlock(lock);
	*s = stats_of(sum);
}
