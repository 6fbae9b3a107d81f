// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Bytes come for many runs at a time, and processors are few: no more runs are verified and
 * decompressed at once. What a reader will come to next goes first: in the blob that was read last,
 * what lies next behind the place of that. All at once would be done at the same late time. A run
 * that somebody waits for does not wait here, and none waits for ever.
 */
#include "config.h"

#include "lib/base/thread.h"
#include "lib/serve/engine/part.h"

enum {
	NEAR = 128, /* frames, which a reader comes to soon */
	PATIENCE = 1000 * 1000, /* microseconds: who has waited so long goes first, for one frame */
};

unsigned turn_processors(void)
{
	unsigned n = thread_processors();

	return n > 2 ? n : 2;
}

/* How many frames there are between reader and run; of what he has passed, more than any. */
static uint32_t distance(const struct run *r)
{
	uint32_t last = atomic_load_explicit(&r->blob->ahead.last, memory_order_relaxed);
	uint32_t i = r->at;

	while (i < r->n && !r->flights[i])
		i++;
	return i < r->n ? r->flights[i]->frame - (last + 1) : UINT32_MAX;
}

/* One of several readers of a blob may be behind the one who has read last. */
static bool is_for_reader(const struct run *r)
{
	return r->level != PREFETCH || (r->blob->ahead.read_at && distance(r) <= NEAR);
}

static bool goes_before(const struct run *a, const struct run *b)
{
	bool soon_a = is_for_reader(a), soon_b = is_for_reader(b);
	uint32_t to_a, to_b;

	if (soon_a != soon_b)
		return soon_a;
	if (a->blob != b->blob)
		return prefetch_goes_before(a->blob, b->blob);
	to_a = distance(a);
	to_b = distance(b);
	return to_a != to_b ? to_a < to_b : a->number < b->number;
}

/* A server does not wait for ever for who reads no more. */
static bool is_overdue(const struct fetcher *f)
{
	return engine_now() > f->waits_since + PATIENCE;
}

/* Of those that wait; the list has who has waited for longest at its head. */
static struct fetcher *first_of_all(struct engine *e)
{
	struct fetcher *f, *first = TAILQ_FIRST(&e->for_turn);

	if (first && is_overdue(first))
		return first;
	TAILQ_FOREACH(f, &e->for_turn, of_turn)
	{
		if (goes_before(&f->run, &first->run))
			first = f;
	}
	return first;
}

static void call(struct fetcher *f)
{
	struct engine *e = f->engine;

	TAILQ_REMOVE(&e->for_turn, f, of_turn);
	f->turn = true;
	e->at_turn++;
	pthread_cond_signal(&f->called);
}

static void wait_locked(struct fetcher *f)
{
	struct engine *e = f->engine;

	f->waits_since = engine_now();
	TAILQ_INSERT_TAIL(&e->for_turn, f, of_turn);
	while (!f->turn)
		pthread_cond_wait(&f->called, &e->lock);
}

bool run_is_waited_for(const struct run *r)
{
	for (uint32_t i = r->at; i < r->n; i++)
		if (r->flights[i] && !TAILQ_EMPTY(&r->flights[i]->waiters))
			return true;
	return false;
}

static void take_locked(struct fetcher *f, bool at_once)
{
	struct engine *e = f->engine;

	if (e->at_turn >= e->processors && !at_once) {
		wait_locked(f);
		return;
	}
	f->turn = true;
	e->at_turn++;
}

void turn_take(struct fetcher *f)
{
	pthread_mutex_lock(&f->engine->lock);
	take_locked(
		f, f->run.level == DEMAND || f->run.blob->removed || run_is_waited_for(&f->run));
	pthread_mutex_unlock(&f->engine->lock);
}

static void give_locked(struct fetcher *f)
{
	struct engine *e = f->engine;

	f->turn = false;
	e->at_turn--;
	while (e->at_turn < e->processors && !TAILQ_EMPTY(&e->for_turn))
		call(first_of_all(e));
}

void turn_give(struct fetcher *f)
{
	pthread_mutex_lock(&f->engine->lock);
	give_locked(f);
	pthread_mutex_unlock(&f->engine->lock);
}

static bool must_pass(const struct fetcher *f)
{
	const struct fetcher *first = first_of_all(f->engine);

	if (!first || f->run.level == DEMAND || f->run.blob->removed || run_is_waited_for(&f->run))
		return false;
	return is_overdue(first) || goes_before(&first->run, &f->run);
}

void turn_pass(struct fetcher *f)
{
	pthread_mutex_lock(&f->engine->lock);
	if (must_pass(f)) {
		give_locked(f);
		wait_locked(f);
	}
	pthread_mutex_unlock(&f->engine->lock);
}

/* Of what lies between a run's first and last, some may be another run's. */
static bool has_frame(const struct run *r, uint32_t frame)
{
	if (frame < r->first || frame >= r->end)
		return false;
	for (uint32_t i = r->at; i < r->n; i++)
		if (r->flights[i] && r->flights[i]->frame == frame)
			return true;
	return false;
}

void turn_hurry_locked(struct served_blob *b, uint32_t frame)
{
	struct fetcher *f;

	pthread_cond_broadcast(&b->engine->calm); /* its stream may be letting others go first */
	TAILQ_FOREACH(f, &b->engine->for_turn, of_turn)
	{
		if (f->run.blob == b && has_frame(&f->run, frame)) {
			call(f);
			return;
		}
	}
}

void turn_end_locked(struct served_blob *b)
{
	struct fetcher *f = TAILQ_FIRST(&b->engine->for_turn), *next;

	for (; f; f = next) {
		next = TAILQ_NEXT(f, of_turn);
		if (f->run.blob == b)
			call(f);
	}
}
