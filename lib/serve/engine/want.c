// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* From bytes that somebody wants to the frames that he waits for, one after the other. */
#include "config.h"

#include <errno.h>

#include "lib/serve/engine/part.h"

/* Slices that one want may have in the queue: others want something of the blob, too. */
enum { WANT_SLICES = 4 };

/* False: nothing of the device lies in it. */
static bool span(const struct range_map *m, struct want *w)
{
	uint64_t size = range_map_device_size(m), len = w->len;
	struct frame f;

	if (!len || w->offset >= size)
		return false;
	if (len > size - w->offset)
		len = size - w->offset;
	w->first = range_map_find(m, w->offset);
	f = range_map_frame(m, w->first);
	w->end = w->first + 1;
	if (w->offset + len > f.offset + f.size)
		w->end = range_map_find(m, w->offset + len - 1) + 1;
	return true;
}

static uint32_t first_missing(const struct served_blob *b, uint32_t i, uint32_t end)
{
	while (i < end && store_blob_has(b->cache, i))
		i++;
	return i;
}

/*
 * Its frames from the one that it waits for on, as far as the window goes. Where it comes to frames
 * once more, it has asked for those itself.
 */
static void queue_window(struct want *w)
{
	struct served_blob *b = w->blob;
	const struct range_map *m = blob_map(b);
	uint64_t window = WANT_SLICES * (uint64_t)b->engine->options.slice_bytes;
	uint64_t limit = range_map_frame(m, w->at).stored_offset + window;
	uint64_t others = 0;

	if (w->queued < w->at)
		w->queued = w->at;
	for (; w->queued < w->end && w->queued - w->at < RUN_FRAMES * WANT_SLICES; w->queued++) {
		if (w->queued > w->at && range_map_frame(m, w->queued).stored_offset >= limit)
			break;
		if (store_blob_has(b->cache, w->queued))
			continue;
		others += w->queued >= w->seen && flights_find(&b->flights, w->queued) != NULL;
		queue_frame_locked(b, w->queued, DEMAND);
	}
	w->seen = w->seen > w->queued ? w->seen : w->queued;
	count_add(b, COUNT_FRAMES_WAITED, others);
}

/*
 * At the end it looks at all of them once more: a sync that failed meanwhile makes frames absent
 * that were there.
 */
void want_go_on_locked(struct want *w, struct want_list *done)
{
	struct served_blob *b = w->blob;

	w->at = first_missing(b, w->at, w->end);
	if (w->at == w->end)
		w->at = first_missing(b, w->first, w->end);
	if (w->at == w->end) {
		want_end_locked(w, 0, done);
		return;
	}
	if (w->at < w->queued && !flights_find(&b->flights, w->at))
		w->queued = w->at; /* a run that broke off has left what only we want */
	queue_window(w);
	w->list = &queue_frame_locked(b, w->at, DEMAND)->waiters;
	turn_hurry_locked(b, w->at);
	TAILQ_INSERT_TAIL(w->list, w, of_list);
}

void want_begin_locked(struct want *w, struct want_list *done)
{
	w->first = w->end = 0;
	span(blob_map(w->blob), w);
	w->at = w->queued = w->seen = w->first;
	want_go_on_locked(w, done);
}

void want_end_locked(struct want *w, int error, struct want_list *done)
{
	struct engine *e = w->blob->engine;

	TAILQ_REMOVE(&e->waiting, w, of_engine);
	count_wait(w->blob, engine_now() - w->since);
	count_add(w->blob, COUNT_NO_SPACE, error == ENOSPC);
	count_add(w->blob, COUNT_FAILED, error && !w->blob->removed && !e->stopping);
	w->error = error;
	TAILQ_INSERT_TAIL(done, w, of_list);
}

void wants_fail_locked(struct want_list *l, int error, struct want_list *done)
{
	struct want *w;

	while ((w = TAILQ_FIRST(l))) {
		TAILQ_REMOVE(l, w, of_list);
		want_end_locked(w, error, done);
	}
}

void wants_answer(struct want_list *done)
{
	struct want *w;

	while ((w = TAILQ_FIRST(done))) {
		TAILQ_REMOVE(done, w, of_list);
		w->done(w, w->error);
	}
}

static void queue_ahead_locked(struct served_blob *b, uint32_t from, uint32_t to)
{
	if (b->removed)
		return;
	for (uint32_t i = from; i < to; i++)
		if (!store_blob_has(b->cache, i))
			queue_frame_locked(b, i, AHEAD);
	queue_update_locked(b);
}

static void queue_ahead(struct served_blob *b, uint32_t from, uint32_t to)
{
	if (from >= to)
		return;
	pthread_mutex_lock(&b->engine->lock);
	queue_ahead_locked(b, from, to);
	pthread_mutex_unlock(&b->engine->lock);
}

/* Once it is answered, its blob may be gone. */
static void wait_for(struct want *w, uint32_t from, uint32_t to)
{
	struct want_list done = TAILQ_HEAD_INITIALIZER(done);
	struct served_blob *b = w->blob;
	struct engine *e = b->engine;

	count_add(b, COUNT_WAITED, 1);
	pthread_mutex_lock(&e->lock);
	w->since = engine_now();
	TAILQ_INSERT_TAIL(&e->waiting, w, of_engine);
	if (b->removed || e->stopping) {
		want_end_locked(w, EIO, &done);
	} else if (store_blob_is_complete(b->cache)) {
		want_end_locked(w, 0, &done); /* by now; and perhaps without a map */
	} else if (blob_map(b)) {
		want_begin_locked(w, &done);
	} else {
		w->list = &b->index_waiters;
		TAILQ_INSERT_TAIL(w->list, w, of_list);
	}
	queue_ahead_locked(b, from, to);
	queue_update_locked(b);
	pthread_mutex_unlock(&e->lock);
	wants_answer(&done);
}

/* Is all of it there? And, where they are given, [*from, *to) is to be read ahead. */
static bool look(struct want *w, uint32_t *from, uint32_t *to)
{
	struct served_blob *b = w->blob;
	const struct range_map *m;
	bool hit = false;

	if (store_blob_is_complete(b->cache))
		return true;
	m = map_enter(b);
	if (m && !(hit = !span(m, w))) {
		hit = first_missing(b, w->first, w->end) == w->end;
		if (from)
			ahead_note(b, m, w->first, w->end, from, to);
	}
	map_leave(b);
	return hit;
}

void engine_want(struct served_blob *b, uint64_t offset, uint64_t len, struct want *w)
{
	uint32_t from = 0, to = 0;

	w->blob = b;
	w->offset = offset;
	w->len = len;
	if (!look(w, w->aside ? NULL : &from, &to)) {
		wait_for(w, from, to);
		return;
	}
	queue_ahead(b, from, to);
	count_add(b, COUNT_HITS, 1);
	w->done(w, 0);
}

bool served_blob_has(struct served_blob *b, uint64_t offset, uint64_t len)
{
	struct want w = { .blob = b, .offset = offset, .len = len };

	return look(&w, NULL, NULL);
}

void engine_note(struct served_blob *b, uint64_t offset, uint64_t len)
{
	struct want w = { .blob = b, .offset = offset, .len = len };
	uint32_t from = 0, to = 0;

	look(&w, &from, &to);
	queue_ahead(b, from, to);
}

/* Somebody who sleeps until he has it. */
struct sleeper {
	struct want want;
	pthread_mutex_t lock;
	pthread_cond_t woken;
	bool done;
	int error;
};

static void wake_sleeper(struct want *w, int error)
{
	struct sleeper *s = (struct sleeper *)w;

	pthread_mutex_lock(&s->lock);
	s->done = true;
	s->error = error;
	pthread_cond_signal(&s->woken);
	pthread_mutex_unlock(&s->lock);
}

int engine_need(struct served_blob *b, uint64_t offset, uint64_t len)
{
	struct sleeper s = { .want.done = wake_sleeper };

	pthread_mutex_init(&s.lock, NULL);
	pthread_cond_init(&s.woken, NULL);
	engine_want(b, offset, len, &s.want);
	pthread_mutex_lock(&s.lock);
	while (!s.done)
		pthread_cond_wait(&s.woken, &s.lock);
	pthread_mutex_unlock(&s.lock);
	pthread_cond_destroy(&s.woken);
	pthread_mutex_destroy(&s.lock);
	return s.error;
}
