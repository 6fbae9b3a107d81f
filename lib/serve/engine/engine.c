// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The engine's threads: their start, their end, and what a fetcher does between. */
#include "config.h"

#include <time.h>

#include "lib/base/mem.h"
#include "lib/base/thread.h"
#include "lib/blob/decoder.h"
#include "lib/serve/engine/part.h"

/* Microseconds after which a fetcher without work gives its buffers back. */
enum { IDLE_US = 5 * 1000 * 1000 };

uint64_t engine_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void engine_wait_locked(struct engine *e, pthread_cond_t *c, uint64_t until)
{
	struct timespec t = {
		.tv_sec = (time_t)(until / 1000000),
		.tv_nsec = (long)(until % 1000000) * 1000,
	};

	if (until == UINT64_MAX)
		pthread_cond_wait(c, &e->lock);
	else
		pthread_cond_timedwait(c, &e->lock, &t);
}

static void wait_for_work_locked(struct fetcher *f, uint64_t wake)
{
	struct engine *e = f->engine;
	bool holds = f->stored.p || f->content.p;
	uint64_t idle = engine_now() + IDLE_US;

	e->idle++;
	engine_wait_locked(e, &e->work, holds && idle < wake ? idle : wake);
	e->idle--;
	if (holds && engine_now() >= idle)
		fetcher_drop_buffers(f);
}

static void *fetcher_main(void *arg)
{
	struct fetcher *f = arg;
	struct engine *e = f->engine;

	pthread_mutex_lock(&e->lock);
	while (!e->stopping) {
		uint64_t wake = UINT64_MAX;

		if (!queue_take_locked(e, &f->run, &wake)) {
			wait_for_work_locked(f, wake);
			continue;
		}
		pthread_mutex_unlock(&e->lock);
		if (f->run.index)
			blob_open_index(f->run.blob);
		else
			fetch_run(f);
		pthread_mutex_lock(&e->lock);
		run_end_locked(&f->run);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

static int start_threads(struct engine *e, struct error **err)
{
	if (thread_start(&e->clock_thread, clock_main, e, err) < 0)
		return -1;
	e->has_clock = true;
	if (thread_start(&e->sync_thread, sync_main, e, err) < 0)
		return -1;
	e->has_sync = true;
	for (unsigned i = 0; i < e->options.fetchers; i++) {
		struct fetcher *f = &e->fetchers[i];

		f->engine = e;
		f->decoder = decoder_new();
		pthread_cond_init(&f->called, NULL);
		if (thread_start(&f->thread, fetcher_main, f, err) < 0) {
			pthread_cond_destroy(&f->called);
			decoder_free(f->decoder);
			return -1;
		}
		e->n_fetchers++;
	}
	return 0;
}

static void init_conds(struct engine *e)
{
	pthread_cond_t *conds[] = { &e->work, &e->sync, &e->clock, &e->quiet, &e->calm };
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	for (size_t i = 0; i < sizeof(conds) / sizeof(*conds); i++)
		pthread_cond_init(conds[i], &attr);
	pthread_condattr_destroy(&attr);
}

struct engine *engine_start(const struct engine_options *o, struct error **err)
{
	struct engine *e = xzalloc(sizeof(*e));

	e->options = *o;
	if (!e->options.fetchers)
		e->options.fetchers = 1;
	e->patience = (uint64_t)o->deadline * 1000000;
	e->fetchers = xcalloc(e->options.fetchers, sizeof(*e->fetchers));
	pthread_mutex_init(&e->lock, NULL);
	init_conds(e);
	TAILQ_INIT(&e->blobs);
	TAILQ_INIT(&e->dirty);
	TAILQ_INIT(&e->waiting);
	TAILQ_INIT(&e->for_turn);
	e->processors = turn_processors();
	for (enum level l = 0; l < N_LEVELS; l++)
		TAILQ_INIT(&e->ready[l]);
	if (start_threads(e, err) < 0) {
		engine_stop(e);
		return NULL;
	}
	return e;
}

static void answer_all(struct engine *e)
{
	struct want_list done = TAILQ_HEAD_INITIALIZER(done);
	struct served_blob *b;

	pthread_mutex_lock(&e->lock);
	e->stopping = true;
	TAILQ_FOREACH(b, &e->blobs, of_engine)
	{
		b->removed = true;
		blob_fail_waiters_locked(b, &done);
	}
	pthread_cond_broadcast(&e->work);
	pthread_cond_signal(&e->sync);
	pthread_cond_signal(&e->clock);
	pthread_mutex_unlock(&e->lock);
	wants_answer(&done);
}

static void wait_quiet(struct engine *e)
{
	struct served_blob *b;

	pthread_mutex_lock(&e->lock);
	TAILQ_FOREACH(b, &e->blobs, of_engine)
	blob_wait_quiet_locked(b);
	pthread_mutex_unlock(&e->lock);
}

static void end_threads(struct engine *e)
{
	for (unsigned i = 0; i < e->n_fetchers; i++) {
		pthread_join(e->fetchers[i].thread, NULL);
		fetcher_drop_buffers(&e->fetchers[i]);
		decoder_free(e->fetchers[i].decoder);
		pthread_cond_destroy(&e->fetchers[i].called);
	}
	if (e->has_sync)
		pthread_join(e->sync_thread, NULL);
	if (e->has_clock)
		pthread_join(e->clock_thread, NULL);
}

void engine_end(struct engine *e)
{
	if (!e)
		return;
	answer_all(e);
	wait_quiet(e);
}

void engine_stop(struct engine *e)
{
	if (!e)
		return;
	engine_end(e);
	end_threads(e);
	while (!TAILQ_EMPTY(&e->blobs))
		engine_remove(TAILQ_FIRST(&e->blobs));
	pthread_cond_destroy(&e->work);
	pthread_cond_destroy(&e->sync);
	pthread_cond_destroy(&e->clock);
	pthread_cond_destroy(&e->quiet);
	pthread_cond_destroy(&e->calm);
	pthread_mutex_destroy(&e->lock);
	free(e->fetchers);
	free(e);
}
