// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Who reads from front to back, and how far ahead of him to fetch. The window begins with one
 * frame when a reader goes on to the next one, and doubles with each. A reader that jumps is a new
 * one, for whom nothing is fetched ahead until he goes on.
 */
#include "config.h"

#include "lib/serve/engine/part.h"

enum {
	AHEAD_SLICES = 8, /* the widest window */
	AHEAD_FRAMES = 2048, /* and what it comes to at most, where frames are small */
	AHEAD_BYTES = 128 * 1024 * 1024, /* or compress well */
	BEHIND = 4, /* frames: readers with several threads come out of order */
};

void ahead_init(struct ahead *a)
{
	pthread_mutex_init(&a->lock, NULL);
	atomic_init(&a->last, UINT32_MAX);
}

/* The one whose next read this is, else the one that has been quiet for longest, begun anew. */
static struct reader *find(struct ahead *a, uint32_t first, uint32_t last)
{
	struct reader *oldest = a->readers;

	for (struct reader *r = a->readers; r < a->readers + READERS; r++) {
		uint32_t next = r->ahead > r->at + 1 ? r->ahead : r->at + 1;

		if (r->used && first <= next && last + BEHIND >= r->at)
			return r;
		if (r->used < oldest->used)
			oldest = r;
	}
	*oldest = (struct reader){ .at = last, .ahead = last + 1 };
	return oldest;
}

/* A jump within the window is progress, but no sign of reading all. */
static void widen(struct served_blob *b, const struct range_map *m, struct reader *r,
	uint32_t first, uint32_t last)
{
	uint64_t most = AHEAD_SLICES * (uint64_t)b->engine->options.slice_bytes;

	if (first > r->at + 1)
		return;
	r->window = r->window ? r->window * 2 : range_map_frame(m, last).stored_size;
	if (r->window > most)
		r->window = most;
}

/*
 * Is what was asked for nearly all of what may be, by any measure? Then it is too early for more:
 * few large requests are better than one for each frame.
 */
static bool is_early(const struct served_blob *b, const struct reader *r, const struct frame *next,
	const struct frame *ahead)
{
	uint64_t most = queue_request_bytes(b->engine, b->source->stream != NULL);
	uint64_t step = r->window / 2 < most ? r->window / 2 : most;

	return ahead->number > next->number &&
	       (ahead->stored_offset - next->stored_offset > r->window - step ||
		       ahead->offset - next->offset > AHEAD_BYTES / 4 * 3 ||
		       ahead->number - next->number > AHEAD_FRAMES / 4 * 3);
}

static bool advance(const struct served_blob *b, const struct range_map *m, struct reader *r,
	uint32_t *from, uint32_t *to)
{
	uint32_t n = range_map_n_frames(m), i;
	struct frame next, f;

	if (r->ahead < r->at + 1)
		r->ahead = r->at + 1;
	if (!r->window || r->ahead >= n)
		return false;
	next = range_map_frame(m, r->at + 1);
	f = range_map_frame(m, r->ahead);
	if (is_early(b, r, &next, &f))
		return false;
	for (i = r->ahead; i < n && i - next.number < AHEAD_FRAMES; i++) {
		f = range_map_frame(m, i);
		if (f.stored_offset - next.stored_offset >= r->window ||
			f.offset - next.offset >= AHEAD_BYTES)
			break;
	}
	*from = r->ahead;
	*to = r->ahead = i;
	return *from < *to;
}

static bool note(struct served_blob *b, const struct range_map *m, uint32_t first, uint32_t last,
	uint32_t *from, uint32_t *to)
{
	struct ahead *a = &b->ahead;
	struct reader *r = find(a, first, last);

	r->used = ++a->clock;
	if (last <= r->at)
		return false;
	widen(b, m, r, first, last);
	r->at = last;
	return advance(b, m, r, from, to);
}

/* Most reads lie in the frame of the one before; and a note that is missed does no harm. */
bool ahead_note(struct served_blob *b, const struct range_map *m, uint32_t first, uint32_t end,
	uint32_t *from, uint32_t *to)
{
	struct ahead *a = &b->ahead;
	bool any;

	*from = *to = 0;
	if (atomic_load_explicit(&a->last, memory_order_relaxed) == end - 1 ||
		pthread_mutex_trylock(&a->lock) != 0)
		return false;
	atomic_store_explicit(&a->last, end - 1, memory_order_relaxed);
	atomic_store_explicit(&a->read_at, engine_now(), memory_order_relaxed);
	any = note(b, m, first, end - 1, from, to);
	pthread_mutex_unlock(&a->lock);
	while (any && *from < *to && store_blob_has(b->cache, *from))
		++*from;
	return any && *from < *to;
}
