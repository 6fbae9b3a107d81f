// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Blobs count, without a lock; the engine's figures are the sum, with those of removed ones. */
#include "config.h"

#include "lib/serve/engine/part.h"

const double engine_wait_bounds[ENGINE_WAIT_BUCKETS - 1] = { 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1,
	5, 10, 60 };

static void take_hits_locked(struct served_blob *b)
{
	uint64_t n = b->hits_also ? atomic_load(b->hits_also) : b->hits_seen;

	count_add(b, COUNT_HITS, n - b->hits_seen);
	b->hits_seen = n;
}

void engine_count_also(struct served_blob *b, const _Atomic uint64_t *hits)
{
	pthread_mutex_lock(&b->engine->lock);
	take_hits_locked(b);
	b->hits_also = hits;
	b->hits_seen = hits ? atomic_load(hits) : 0;
	pthread_mutex_unlock(&b->engine->lock);
}

void counts_add_locked(uint64_t sum[static N_COUNTS], struct served_blob *b)
{
	take_hits_locked(b);
	for (int i = 0; i < N_COUNTS; i++)
		sum[i] += atomic_load_explicit(&b->counts[i], memory_order_relaxed);
}

void count_wait(struct served_blob *b, uint64_t us)
{
	int i = 0;

	while (i < ENGINE_WAIT_BUCKETS - 1 && (double)us > engine_wait_bounds[i] * 1e6)
		i++;
	count_add(b, COUNT_BUCKETS + (enum count)i, 1);
	count_add(b, COUNT_WAITED_US, us);
}

static void put_counts(struct engine_stats *s, const uint64_t n[static N_COUNTS])
{
	s->wants = n[COUNT_HITS] + n[COUNT_WAITED];
	s->hits = n[COUNT_HITS];
	s->frames_fetched = n[COUNT_FRAMES];
	s->bytes_fetched = n[COUNT_BYTES];
	s->frames_waited = n[COUNT_FRAMES_WAITED];
	s->requests = n[COUNT_REQUESTS];
	s->errors = n[COUNT_ERRORS] + n[COUNT_DEADLINES];
	s->recovered = n[COUNT_RECOVERED];
	s->bad_frames = n[COUNT_BAD_FRAMES];
	s->deadlines = n[COUNT_DEADLINES];
	s->no_space = n[COUNT_NO_SPACE];
	s->failed = n[COUNT_FAILED];
	s->waited_us = n[COUNT_WAITED_US];
	for (int i = 0; i < ENGINE_WAIT_BUCKETS; i++)
		s->waited[i] = n[COUNT_BUCKETS + i];
}

/* Frames are nearly all of one size. */
static uint64_t estimate(uint64_t size, uint32_t present, uint32_t n)
{
	return n ? (uint64_t)((unsigned __int128)size * present / n) : size;
}

/* What a sync loses while frames come is counted a little wrong: it must not be more than all. */
static uint64_t bytes_cached(const struct served_blob *b, uint64_t size)
{
	uint32_t present = store_blob_present(b->cache), n = store_blob_n_frames(b->cache);
	uint64_t bytes;

	if (present == n)
		return size;
	bytes = blob_map(b) ? b->cached : estimate(size, present, n);
	return bytes < size ? bytes : size;
}

static void add_state(struct engine_stats *s, const struct served_blob *b)
{
	uint64_t size = store_blob_size(b->cache), cached = bytes_cached(b, size);

	s->blobs++;
	s->blobs_complete += served_blob_is_complete(b);
	s->bytes_cached += cached;
	s->bytes_missing += size - cached;
	s->frames_total += store_blob_n_frames(b->cache);
	s->frames_present += store_blob_present(b->cache);
}

void served_blob_stats(const struct served_blob *b, struct engine_stats *s)
{
	uint64_t sum[N_COUNTS] = { 0 };

	*s = (struct engine_stats){ 0 };
	pthread_mutex_lock(&b->engine->lock);
	counts_add_locked(sum, (struct served_blob *)(uintptr_t)b);
	pthread_mutex_unlock(&b->engine->lock);
	put_counts(s, sum);
	add_state(s, b);
}

void engine_stats(const struct engine *e, struct engine_stats *s)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)&e->lock;
	struct served_blob *b;
	uint64_t sum[N_COUNTS];

	*s = (struct engine_stats){ 0 };
	pthread_mutex_lock(lock);
	for (int i = 0; i < N_COUNTS; i++)
		sum[i] = e->gone[i];
	TAILQ_FOREACH(b, &e->blobs, of_engine)
	{
		counts_add_locked(sum, b);
		add_state(s, b);
	}
	pthread_mutex_unlock(lock);
	put_counts(s, sum);
}
