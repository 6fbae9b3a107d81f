// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What to fetch next. Levels come one after the other; within a level, blobs take turns, one
 * request each (but prefetch.c has an order of its own); within a blob, the frame that was asked
 * for first, with its neighbours that wait at the same level, in one request.
 */
#include "config.h"

#include "lib/serve/engine/part.h"

enum {
	PREFETCH_MOST = 5, /* requests at once */
	SPARE_FROM = 8, /* with so many fetchers, ... */
	SPARE = 2, /* ... so many are kept for other places than the one that has the rest */
};

/*
 * A stream that has a long way to a frame is not waited for: somebody else fetches it. Nor is it by
 * what is read ahead, if the reader himself is far from it.
 */
static bool leave_stream(struct served_blob *b, struct flight *f, enum level level)
{
	uint32_t read = atomic_load_explicit(&b->ahead.last, memory_order_relaxed);
	uint32_t asks = level == AHEAD && read < f->frame ? read : f->frame;
	uint64_t at = range_map_frame(blob_map(b), asks).stored_offset;
	struct run *r = f->run;

	if (level >= r->level)
		return false;
	if (!r->streams || at < r->reached || at - r->reached <= b->engine->options.slice_bytes)
		return false;
	for (uint32_t i = r->at; i < r->n; i++)
		if (r->flights[i] == f)
			r->flights[i] = NULL;
	f->run = NULL;
	return true;
}

struct flight *queue_frame_locked(struct served_blob *b, uint32_t frame, enum level level)
{
	struct flight *f = flights_find(&b->flights, frame);

	if (!f) {
		f = flights_add(&b->flights, frame);
	} else if (f->run) {
		if (!leave_stream(b, f, level))
			return f;
	} else if (f->level <= level) {
		return f;
	} else {
		TAILQ_REMOVE(&b->queue[f->level], f, of_queue);
	}
	f->level = level;
	TAILQ_INSERT_TAIL(&b->queue[level], f, of_queue);
	return f;
}

void queue_back_locked(struct served_blob *b, struct flight *f)
{
	f->run = NULL;
	f->level = DEMAND;
	TAILQ_INSERT_TAIL(&b->queue[DEMAND], f, of_queue);
}

static bool has_work(const struct served_blob *b, enum level level)
{
	if (b->removed || b->engine->stopping || b->opening)
		return false;
	if (level == PREFETCH)
		return prefetch_has_work_locked(b);
	if (!blob_map(b))
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
 * prefetching has one at most. Nor does it take all connections that a host gets (lib/registry).
 */
static bool may_start(const struct engine *e, enum level level)
{
	unsigned all = e->options.fetchers, low = e->busy[AHEAD] + e->busy[PREFETCH];

	if (level == DEMAND || all == 1)
		return true;
	if (low >= all - 1)
		return false;
	return level == AHEAD || !e->busy[PREFETCH] ||
	       (!e->busy[DEMAND] && !e->busy[AHEAD] && e->busy[PREFETCH] < PREFETCH_MOST &&
		       e->busy[PREFETCH] < (all * 3 + 3) / 4);
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

bool queue_wants_locked(const struct served_blob *b, uint32_t frame, enum level level)
{
	const struct flight *f = flights_find(&b->flights, frame);

	if (f)
		return !f->run && f->level <= level;
	return level == PREFETCH && !store_blob_has(b->cache, frame);
}

/* Bytes as stored of frames [first, end). */
static uint64_t stored_bytes(const struct range_map *m, uint32_t first, uint32_t end)
{
	struct frame a = range_map_frame(m, first), z = range_map_frame(m, end - 1);

	return z.stored_offset + z.stored_size - a.stored_offset;
}

size_t queue_request_bytes(const struct engine *e, bool streams)
{
	const struct engine_options *o = &e->options;

	return streams && o->stream_bytes > o->slice_bytes ? o->stream_bytes : o->slice_bytes;
}

static bool fits(const struct run *r, const struct range_map *m, uint32_t first, uint32_t end)
{
	struct frame a = range_map_frame(m, first), z = range_map_frame(m, end - 1);

	return end - first <= RUN_FRAMES && z.offset + z.size - a.offset <= RUN_BYTES &&
	       stored_bytes(m, first, end) <= queue_request_bytes(r->blob->engine, r->streams);
}

/* What will be wanted next comes along, a little of it: not much longer to wait for who waits. */
static bool comes_along(const struct run *r, const struct range_map *m, uint32_t wanted, uint32_t i)
{
	const struct served_blob *b = r->blob;

	return queue_wants_locked(b, i, AHEAD) &&
	       stored_bytes(m, wanted, i + 1) <= b->engine->options.slice_bytes / 8;
}

static void grow_forward(struct run *r, const struct range_map *m)
{
	const struct served_blob *b = r->blob;
	uint32_t n = range_map_n_frames(m), wanted = r->end;

	for (uint32_t i = r->end; i < n && fits(r, m, r->first, i + 1); i++)
		if (queue_wants_locked(b, i, r->level))
			wanted = r->end = i + 1;
		else if (comes_along(r, m, wanted, i))
			r->end = i + 1;
		else if (stored_bytes(m, r->end, i + 1) > b->source->gap)
			return;
}

static void grow_backward(struct run *r, const struct range_map *m)
{
	const struct served_blob *b = r->blob;

	for (uint32_t i = r->first; i-- > 0 && fits(r, m, i, r->end);)
		if (queue_wants_locked(b, i, r->level))
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

		if (f ? f->run != NULL : store_blob_has(b->cache, i))
			continue;
		if (f) {
			TAILQ_REMOVE(&b->queue[f->level], f, of_queue);
		} else {
			f = flights_add(&b->flights, i);
			f->level = r->level;
		}
		f->run = r;
		r->flights[r->n++] = f;
		r->need += range_map_frame(m, i).size;
	}
}

static void take_prefetch(struct run *r, const struct range_map *m)
{
	uint32_t i = prefetch_find_locked(r->blob, m);

	if (i == UINT32_MAX)
		return; /* an empty run */
	r->first = i;
	r->end = i + 1;
	grow_forward(r, m);
	claim(r, m);
	r->blob->walk.n += r->end - r->first;
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

/* What a slice holds is asked for in one piece. */
static void begin_stream(struct run *r, const struct range_map *m)
{
	struct engine *e = r->blob->engine;

	r->streams =
		r->streams && r->n && stored_bytes(m, r->first, r->end) > e->options.slice_bytes;
	if (!r->streams)
		return;
	r->reached = range_map_frame(m, r->first).stored_offset;
	e->streams++;
}

static void take(struct run *r, struct served_blob *b, enum level level)
{
	struct engine *e = b->engine;
	const struct range_map *m = blob_map(b);

	r->blob = b;
	r->number = ++e->runs;
	r->since = engine_now();
	r->level = level;
	r->index = !m;
	r->first = r->end = r->n = r->at = 0;
	r->need = 0;
	r->starved = false;
	/* read() asks elsewhere, too, when somebody fails */
	r->streams =
		m && level != DEMAND && b->source->stream && !b->failing && e->streams < STREAMS;
	r->blamed = false;
	r->paused = 0;
	TAILQ_REMOVE(&e->ready[level], b, of_ready[level]); /* its next turn is after the others' */
	b->ready[level] = false;
	b->busy++;
	e->busy[level]++;
	e->prefetch_runs += level == PREFETCH;
	if (!m)
		b->opening = true;
	else if (level == PREFETCH)
		take_prefetch(r, m);
	else
		take_queued(r, m);
	if (m)
		begin_stream(r, m);
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

static struct served_blob *choose(struct engine *e, enum level level, uint64_t *wake)
{
	bool turns = level != PREFETCH || prefetch_is_turn(e);
	struct served_blob *b, *best = NULL;
	uint64_t now = engine_now();

	TAILQ_FOREACH(b, &e->ready[level], of_ready[level])
	{
		if (b->rest[level] > now) {
			if (b->rest[level] < *wake)
				*wake = b->rest[level];
		} else if (may_ask(e, b) && !prefetch_waits(b, level, now, wake)) {
			if (turns)
				return b;
			if (!best || prefetch_goes_before(b, best))
				best = b;
		}
	}
	return best;
}

bool queue_take_locked(struct engine *e, struct run *r, uint64_t *wake)
{
	for (enum level l = 0; l < N_LEVELS; l++) {
		struct served_blob *b = may_start(e, l) ? choose(e, l, wake) : NULL;

		if (b) {
			take(r, b, l);
			pass_on(e);
			return true;
		}
	}
	return false;
}

void run_end_locked(struct run *r)
{
	struct served_blob *b = r->blob;

	r->blob = NULL;
	b->engine->busy[r->level]--;
	b->engine->streams -= r->streams;
	if (r->level != AHEAD)
		pthread_cond_broadcast(&b->engine->calm);
	prefetch_again_locked(b);
	queue_update_locked(b);
	blob_leave_locked(b);
	pass_on(b->engine);
}
