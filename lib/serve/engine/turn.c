// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Bytes come for many runs at a time, and processors are few: no more runs are verified and
 * decompressed at once. The one that was begun first goes first, for that is what a reader will
 * want first; all at once would be done at the same late time. A run that somebody waits for does
 * not wait here.
 */
#include "config.h"

#include "lib/base/thread.h"
#include "lib/serve/engine/part.h"

unsigned turn_processors(void)
{
	unsigned n = thread_processors();

	return n > 2 ? n : 2;
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
	struct fetcher *next;

	TAILQ_FOREACH(next, &e->for_turn, of_turn)
	{
		if (next->run.number > f->run.number)
			break;
	}
	if (next)
		TAILQ_INSERT_BEFORE(next, f, of_turn);
	else
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
	take_locked(f, f->run.level == DEMAND || run_is_waited_for(&f->run));
	pthread_mutex_unlock(&f->engine->lock);
}

void turn_give(struct fetcher *f)
{
	struct engine *e = f->engine;

	pthread_mutex_lock(&e->lock);
	f->turn = false;
	e->at_turn--;
	while (e->at_turn < e->processors && !TAILQ_EMPTY(&e->for_turn))
		call(TAILQ_FIRST(&e->for_turn));
	pthread_mutex_unlock(&e->lock);
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
