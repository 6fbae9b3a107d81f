// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What to fetch when nobody asks for anything: what somebody will probably want next. In a blob,
 * what lies behind the place where somebody has last read, round its end, until all of it has been
 * looked at. Of several blobs, the one that was read last; of those that nobody has read, the one
 * whose prefetching began first. Now and then it is another's turn, so that each gets on.
 */
#include "config.h"

#include "lib/serve/engine/part.h"

enum {
	LOOKS = 65536, /* absent frames looked at under the lock in one go */
	PAUSE_MIN = 1000, /* milliseconds */
	PAUSE_MAX = 60 * 1000,
	TURN = 8, /* each eighth run goes to whoever has waited for longest */
	INDEX_US = 300 * 1000, /* that data waits for the index of what goes before it, at most */
};

bool prefetch_has_work_locked(const struct served_blob *b)
{
	const struct range_map *m = blob_map(b);

	return b->prefetch && (!m || b->walk.n < range_map_n_frames(m));
}

void engine_prefetch(struct served_blob *b)
{
	struct engine *e = b->engine;

	pthread_mutex_lock(&e->lock);
	if (!b->prefetch) {
		b->walk = (struct walk){ 0 };
		b->prefetch_number = ++e->prefetched;
	}
	b->prefetch = !store_blob_is_complete(b->cache);
	queue_update_locked(b);
	pthread_mutex_unlock(&e->lock);
}

/* A reader who is within what was walked through is followed already: he has yet to get here. */
static void follow(struct served_blob *b, uint32_t n)
{
	uint32_t last = atomic_load_explicit(&b->ahead.last, memory_order_relaxed), next;

	if (last >= n)
		return;
	next = last + 1 < n ? last + 1 : 0;
	if ((next >= b->walk.from ? next - b->walk.from : n - b->walk.from + next) > b->walk.n)
		b->walk = (struct walk){ .from = next };
}

/* Where it goes on. */
static uint32_t place(const struct walk *w, uint32_t n)
{
	return w->n < n - w->from ? w->from + w->n : w->n - (n - w->from);
}

/* The next frame that is not there, from the walk's place on; n when there is none before an end.
 */
static uint32_t next_absent(struct served_blob *b, uint32_t n)
{
	uint32_t i = place(&b->walk, n), rest = n - b->walk.n;
	uint32_t end = rest < n - i ? i + rest : n;
	uint32_t found = store_blob_next_absent(b->cache, i, end);

	b->walk.n += found - i;
	return found < end ? found : n;
}

uint32_t prefetch_find_locked(struct served_blob *b, const struct range_map *m)
{
	uint32_t n = range_map_n_frames(m);

	follow(b, n);
	for (uint32_t looks = 0; looks < LOOKS && b->walk.n < n; looks++) {
		uint32_t i = next_absent(b, n);

		if (i < n && queue_wants_locked(b, i, PREFETCH))
			return i;
		b->walk.n += i < n;
	}
	return UINT32_MAX; /* and the next one goes on there */
}

bool prefetch_is_turn(const struct engine *e)
{
	return e->prefetch_runs % TURN == TURN - 1;
}

bool prefetch_goes_before(const struct served_blob *a, const struct served_blob *b)
{
	uint64_t a_read = a->ahead.read_at, b_read = b->ahead.read_at;

	return a_read != b_read ? a_read > b_read : a->prefetch_number < b->prefetch_number;
}

/* Who waits for an index has not been seen to read yet. */
static bool matters(const struct served_blob *opening, const struct served_blob *b)
{
	return !TAILQ_EMPTY(&opening->index_waiters) || prefetch_goes_before(opening, b);
}

/*
 * Of a mount's blobs the one whose index comes first would take all processors, and the reader
 * would wait for the index of the blob that he reads.
 */
bool prefetch_waits(const struct served_blob *b, enum level level, uint64_t now, uint64_t *wake)
{
	const struct engine *e = b->engine;

	if (level != PREFETCH || !blob_map(b))
		return false;
	for (unsigned i = 0; i < e->options.fetchers; i++) {
		const struct run *r = &e->fetchers[i].run;

		if (!r->blob || !r->index || r->since + INDEX_US <= now || !matters(r->blob, b))
			continue;
		if (r->since + INDEX_US < *wake)
			*wake = r->since + INDEX_US;
		return true;
	}
	return false;
}

void prefetch_rest_locked(struct served_blob *b)
{
	unsigned ms = b->prefetch_pause * 2;
	uint64_t now = engine_now();

	if (b->rest[PREFETCH] > now) /* another run that failed has just seen to it */
		return;
	if (ms < PAUSE_MIN)
		ms = PAUSE_MIN;
	if (ms > PAUSE_MAX)
		ms = PAUSE_MAX;
	b->prefetch_pause = ms;
	b->rest[PREFETCH] = now + (uint64_t)ms * 1000;
}

/* Frames that could not be fetched, or that a failed sync has lost. */
void prefetch_again_locked(struct served_blob *b)
{
	const struct range_map *m = blob_map(b);

	if (!b->prefetch || !m || b->walk.n < range_map_n_frames(m) || b->flights.n)
		return;
	if (store_blob_is_complete(b->cache)) {
		b->prefetch = false;
		return;
	}
	b->walk = (struct walk){ 0 };
	prefetch_rest_locked(b);
}
