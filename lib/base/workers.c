// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/workers.h"

#include <pthread.h>

#include "lib/base/mem.h"
#include "lib/base/thread.h"

/* What one priority has to run: loose jobs, and strands with a job that may start. */
struct level {
	struct job *first, **last;
	struct strand *first_ready, **last_ready;
};

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t work; /* something can be run, or stop */
	pthread_cond_t idle; /* outstanding is 0 */
	struct level levels[WORKERS_PRIORITIES];
	unsigned long outstanding; /* jobs queued or running */
	unsigned sleeping; /* threads that wait for work */
	bool stop;
	unsigned n;
	pthread_t threads[];
};

/* All functions with the suffix _locked are called with w->lock held. */

static void wake_locked(struct workers *w)
{
	if (w->sleeping)
		pthread_cond_signal(&w->work);
}

static void make_ready_locked(struct strand *s)
{
	struct level *level = &s->workers->levels[s->priority];

	if (s->ready || s->paused || !s->first)
		return;
	s->ready = true;
	s->next_ready = NULL;
	*level->last_ready = s;
	level->last_ready = &s->next_ready;
	wake_locked(s->workers);
}

static struct job *take_loose_locked(struct level *level)
{
	struct job *job = level->first;

	if (job && !(level->first = job->next))
		level->last = &level->first;
	return job;
}

static struct strand *take_strand_locked(struct level *level)
{
	struct strand *s = level->first_ready;

	if (s && !(level->first_ready = s->next_ready))
		level->last_ready = &level->first_ready;
	return s;
}

static struct job *take_from_strand_locked(struct strand *s)
{
	struct job *job = s->first;

	if (!(s->first = job->next))
		s->last = &s->first;
	return job;
}

/* The next job by priority, and the strand that it belongs to, if any. */
static struct job *take_locked(struct workers *w, struct strand **strand)
{
	for (int i = WORKERS_PRIORITIES - 1; i >= 0; i--) {
		struct level *level = &w->levels[i];
		struct job *job;

		while ((*strand = take_strand_locked(level))) {
			if (!(*strand)->paused)
				return take_from_strand_locked(*strand);
			(*strand)->ready = false; /* strand_resume() brings it back */
		}
		job = take_loose_locked(level);
		if (job)
			return job;
	}
	return NULL;
}

static void *worker_main(void *arg)
{
	struct workers *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct strand *strand = NULL;
		struct job *job = take_locked(w, &strand);

		if (!job) {
			if (w->stop)
				break;
			w->sleeping++;
			pthread_cond_wait(&w->work, &w->lock);
			w->sleeping--;
			continue;
		}
		pthread_mutex_unlock(&w->lock);
		job->run(job);
		pthread_mutex_lock(&w->lock);
		if (strand) {
			strand->ready = false;
			make_ready_locked(strand);
		}
		if (--w->outstanding == 0)
			pthread_cond_broadcast(&w->idle);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

struct workers *workers_start(unsigned n, struct error **err)
{
	struct workers *w = xzalloc(sizeof(*w) + n * sizeof(w->threads[0]));

	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	pthread_cond_init(&w->idle, NULL);
	for (int i = 0; i < WORKERS_PRIORITIES; i++) {
		w->levels[i].last = &w->levels[i].first;
		w->levels[i].last_ready = &w->levels[i].first_ready;
	}
	while (w->n < n) {
		if (thread_start(&w->threads[w->n], worker_main, w, err) < 0) {
			workers_stop(w);
			return NULL;
		}
		w->n++;
	}
	return w;
}

void workers_wait(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	while (w->outstanding)
		pthread_cond_wait(&w->idle, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void workers_stop(struct workers *w)
{
	if (!w)
		return;
	workers_wait(w);
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->work);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->n; i++)
		pthread_join(w->threads[i], NULL);
	pthread_cond_destroy(&w->idle);
	pthread_cond_destroy(&w->work);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void workers_post(struct workers *w, int priority, struct job *job)
{
	struct level *level = &w->levels[priority];

	pthread_mutex_lock(&w->lock);
	job->next = NULL;
	*level->last = job;
	level->last = &job->next;
	w->outstanding++;
	wake_locked(w);
	pthread_mutex_unlock(&w->lock);
}

void strand_init(struct strand *s, struct workers *w, int priority)
{
	*s = (struct strand){ .workers = w, .priority = priority };
	s->last = &s->first;
}

void strand_post(struct strand *s, struct job *job)
{
	struct workers *w = s->workers;

	pthread_mutex_lock(&w->lock);
	job->next = NULL;
	*s->last = job;
	s->last = &job->next;
	w->outstanding++;
	make_ready_locked(s);
	pthread_mutex_unlock(&w->lock);
}

void strand_post_first(struct strand *s, struct job *job)
{
	struct workers *w = s->workers;

	pthread_mutex_lock(&w->lock);
	job->next = s->first;
	if (!s->first)
		s->last = &job->next;
	s->first = job;
	w->outstanding++;
	make_ready_locked(s);
	pthread_mutex_unlock(&w->lock);
}

void strand_pause(struct strand *s)
{
	pthread_mutex_lock(&s->workers->lock);
	s->paused = true;
	pthread_mutex_unlock(&s->workers->lock);
}

void strand_resume(struct strand *s)
{
	pthread_mutex_lock(&s->workers->lock);
	s->paused = false;
	make_ready_locked(s);
	pthread_mutex_unlock(&s->workers->lock);
}
