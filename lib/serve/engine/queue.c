// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What to fetch next. Levels come one after the other; within a level, blobs take turns, one
 * request each; within a blob, the frame that was asked for first, with its neighbours that wait
 * at the same level, in one request.
 */
#include "config.h"

#include "lib/serve/engine/part.h"

enum {
	PREFETCH_LOOKS = 65536, /* frames looked at under the lock in one go */
	PREFETCH_PAUSE_MIN = 1000, /* milliseconds */
	PREFETCH_PAUSE_MAX = 60 * 1000,
	SPARE_FROM = 8, /* with so many fetchers, ... */
	SPARE = 2, /* ... so many are kept for other places than the one that has the rest */
};

struct flight *queue_frame_locked(struct served_blob *b, uint32_t frame, enum level level)
{
	struct flight *f = flights_find(&b->flights, frame);

	if (f && (f->fetching || f->level <= level))
		return f;
	if (f)
		TAILQ_REMOVE(&b->queue[f->level], f, of_queue);
	else
		f = flights_add(&b->flights, frame);
	f->level = level;
	TAILQ_INSERT_TAIL(&b->queue[level], f, of_queue);
	return f;
}

void queue_back_locked(struct served_blob *b, struct flight *f)
{
	f->fetching = false;
	f->level = DEMAND;
	TAILQ_INSERT_TAIL(&b->queue[DEMAND], f, of_queue);
}

static bool has_work(const struct served_blob *b, enum level level)
{
	const struct range_map *m = blob_map(b);

	if (b->removed || b->engine->stopping || b->opening)
		return false;
	if (level == PREFETCH)
		return b->prefetch && (!m || b->prefetch_at < range_map_n_frames(m));
	if (!m)
		return level == DEMAND && !TAILQ_EMPTY(&b->index_waiters);
	return !TAILQ_EMPTY(&b->queue[level]);
}

static void wake_fetcher(struct engine *e)
{
	if (e->idle)
		pthread_cond_signal(&e->work);
}

void queue_update_locked(struct served_blob *b)
{
	struct engine *e = b->engine;

	for (enum level l = 0; l < N_LEVELS; l++) {
		bool work = has_work(b, l);

		if (work && !b->ready[l])
			TAILQ_INSERT_TAIL(&e->ready[l], b, of_ready[l]);
		else if (!work && b->ready[l])
			TAILQ_REMOVE(&e->ready[l], b, of_ready[l]);
		b->ready[l] = work;
		if (work)
			wake_fetcher(e);
	}
}

/*
 * Whoever waits finds a fetcher free: one is left alone by read-ahead, and while somebody waits,
 * prefetching has one at most.
 */
static bool may_start(const struct engine *e, enum level level)
{
	unsigned all = e->options.fetchers, low = e->busy[AHEAD] + e->busy[PREFETCH];

	if (level == DEMAND || all == 1)
		return true;
	if (low >= all - 1)
		return false;
	return level == AHEAD || !e->busy[PREFETCH] ||
	       (!e->busy[DEMAND] && !e->busy[AHEAD] && e->busy[PREFETCH] < (all * 3 + 3) / 4);
}

/*
 * A server that has died holds whoever asks it until the tries are over. Those who read from
 * elsewhere must not wait for that, so it never gets the last fetchers.
 */
static bool may_ask(const struct engine *e, const struct served_blob *b)
{
	uint64_t place = b->source->place;
	unsigned n = 0;

	if (!place || e->options.fetchers < SPARE_FROM)
		return true;
	for (unsigned i = 0; i < e->options.fetchers; i++) {
		const struct served_blob *at = e->fetchers[i].run.blob;

		n += at && at->source->place == place;
	}
	return n < e->options.fetchers - SPARE;
}

static bool is_wanted(const struct served_blob *b, uint32_t frame, enum level level)
{
	const struct flight *f = flights_find(&b->flights, frame);

	if (f)
		return !f->fetching && f->level <= level;
	return level == PREFETCH && !store_blob_has(b->cache, frame);
}

/* Bytes as stored of frames [first, end). */
static uint64_t stored_bytes(const struct range_map *m, uint32_t first, uint32_t end)
{
	struct frame a = range_map_frame(m, first), z = range_map_frame(m, end - 1);

	return z.stored_offset + z.stored_size - a.stored_offset;
}

static bool fits(const struct engine *e, const struct range_map *m, uint32_t first, uint32_t end)
{
	struct frame a = range_map_frame(m, first), z = range_map_frame(m, end - 1);

	return end - first <= RUN_FRAMES && z.offset + z.size - a.offset <= RUN_BYTES &&
	       stored_bytes(m, first, end) <= e->options.slice_bytes;
}

/* What will be wanted next comes along, a little of it: not much longer to wait for who waits. */
static bool comes_along(const struct run *r, const struct range_map *m, uint32_t wanted, uint32_t i)
{
	const struct served_blob *b = r->blob;

	return is_wanted(b, i, AHEAD) &&
	       stored_bytes(m, wanted, i + 1) <= b->engine->options.slice_bytes / 8;
}

static void grow_forward(struct run *r, const struct range_map *m)
{
	const struct served_blob *b = r->blob;
	uint32_t n = range_map_n_frames(m), wanted = r->end;

	for (uint32_t i = r->end; i < n && fits(b->engine, m, r->first, i + 1); i++)
		if (is_wanted(b, i, r->level))
			wanted = r->end = i + 1;
		else if (comes_along(r, m, wanted, i))
			r->end = i + 1;
		else if (stored_bytes(m, r->end, i + 1) > b->source->gap)
			return;
}

static void grow_backward(struct run *r, const struct range_map *m)
{
	const struct served_blob *b = r->blob;

	for (uint32_t i = r->first; i-- > 0 && fits(b->engine, m, i, r->end);)
		if (is_wanted(b, i, r->level))
			r->first = i;
		else if (stored_bytes(m, i, r->first) > b->source->gap)
			return;
}

/* What lies in the gaps comes along, and is kept. */
static void claim(struct run *r, const struct range_map *m)
{
	struct served_blob *b = r->blob;

	for (uint32_t i = r->first; i < r->end; i++) {
		struct flight *f = flights_find(&b->flights, i);

		if (f ? f->fetching : store_blob_has(b->cache, i))
			continue;
		if (f) {
			TAILQ_REMOVE(&b->queue[f->level], f, of_queue);
		} else {
			f = flights_add(&b->flights, i);
			f->level = r->level;
		}
		f->fetching = true;
		r->flights[r->n++] = f;
		r->need += range_map_frame(m, i).size;
	}
}

static void take_prefetch(struct run *r, const struct range_map *m)
{
	struct served_blob *b = r->blob;
	uint32_t n = range_map_n_frames(m), i = b->prefetch_at;
	uint32_t limit = n - i < PREFETCH_LOOKS ? n : i + PREFETCH_LOOKS;

	while (i < limit && !is_wanted(b, i, PREFETCH))
		i++;
	b->prefetch_at = i;
	if (i == limit)
		return; /* an empty run, and the next one goes on here */
	r->first = i;
	r->end = i + 1;
	grow_forward(r, m);
	claim(r, m);
	b->prefetch_at = r->end;
}

static void take_queued(struct run *r, const struct range_map *m)
{
	struct served_blob *b = r->blob;

	r->first = TAILQ_FIRST(&b->queue[r->level])->frame;
	r->end = r->first + 1;
	grow_forward(r, m);
	grow_backward(r, m);
	claim(r, m);
}

static void take(struct run *r, struct served_blob *b, enum level level)
{
	struct engine *e = b->engine;
	const struct range_map *m = blob_map(b);

	r->blob = b;
	r->level = level;
	r->index = !m;
	r->first = r->end = r->n = 0;
	r->need = 0;
	r->starved = false;
	TAILQ_REMOVE(&e->ready[level], b, of_ready[level]); /* its next turn is after the others' */
	b->ready[level] = false;
	b->busy++;
	e->busy[level]++;
	if (!m)
		b->opening = true;
	else if (level == PREFETCH)
		take_prefetch(r, m);
	else
		take_queued(r, m);
	queue_update_locked(b);
}

/* Is there more? Then it goes from one fetcher to the next: nobody wakes all of them. */
static void pass_on(struct engine *e)
{
	for (enum level l = 0; l < N_LEVELS; l++)
		if (!TAILQ_EMPTY(&e->ready[l]) && may_start(e, l)) {
			wake_fetcher(e);
			return;
		}
}

bool queue_take_locked(struct engine *e, struct run *r, uint64_t *wake)
{
	uint64_t now = engine_now();
	struct served_blob *b;

	for (enum level l = 0; l < N_LEVELS; l++) {
		if (!may_start(e, l))
			continue;
		TAILQ_FOREACH(b, &e->ready[l], of_ready[l])
		{
			if (b->rest[l] > now) {
				if (b->rest[l] < *wake)
					*wake = b->rest[l];
			} else if (may_ask(e, b)) {
				take(r, b, l);
				pass_on(e);
				return true;
			}
		}
	}
	return false;
}

void run_end_locked(struct run *r)
{
	struct served_blob *b = r->blob;

	r->blob = NULL;
	b->engine->busy[r->level]--;
	prefetch_again_locked(b);
	queue_update_locked(b);
	blob_leave_locked(b);
	pass_on(b->engine);
}

void prefetch_rest_locked(struct served_blob *b)
{
	unsigned ms = b->prefetch_pause * 2;

	if (ms < PREFETCH_PAUSE_MIN)
		ms = PREFETCH_PAUSE_MIN;
	if (ms > PREFETCH_PAUSE_MAX)
		ms = PREFETCH_PAUSE_MAX;
	b->prefetch_pause = ms;
	b->rest[PREFETCH] = engine_now() + (uint64_t)ms * 1000;
}

/* Frames that could not be fetched, or that a failed sync has lost. */
void prefetch_again_locked(struct served_blob *b)
{
	const struct range_map *m = blob_map(b);

	if (!b->prefetch || !m || b->prefetch_at < range_map_n_frames(m) || b->flights.n)
		return;
	if (store_blob_is_complete(b->cache)) {
		b->prefetch = false;
		return;
	}
	b->prefetch_at = 0;
	prefetch_rest_locked(b);
}
