/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A fixed number of threads that run jobs. A job never waits for another one: what must come
 * in order goes through a strand, whose jobs run one at a time in the order of posting, on
 * whichever thread is free. Jobs near the output have the higher priority, so that memory is
 * given back before more is taken.
 */
#ifndef BASE_WORKERS_H
#define BASE_WORKERS_H

#include <stdbool.h>

#include "lib/base/error.h"

struct workers;

/* Embedded in what the job is about; run() may free or re-post it. */
struct job {
	struct job *next;
	void (*run)(struct job *job);
};

enum { WORKERS_PRIORITIES = 5 }; /* 0 is served last */

struct strand {
	struct workers *workers;
	struct job *first, **last; /* posted, not yet started */
	struct strand *next_ready;
	int priority;
	bool ready; /* in the ready list, or one of its jobs runs */
	bool paused;
};

/* Start n threads (1 or more). NULL with *err when the system refuses. */
struct workers *workers_start(unsigned n, struct error **err);

/* Block until no job is queued or running. Not from within a job. */
void workers_wait(struct workers *w);

/* workers_wait(), then end the threads. NULL is allowed. */
void workers_stop(struct workers *w);

/* Run a job as soon as a thread is free, in no order. */
void workers_post(struct workers *w, int priority, struct job *job);

void strand_init(struct strand *s, struct workers *w, int priority);
void strand_post(struct strand *s, struct job *job);

/* Before those that wait: for a job of the strand that is not done with its work. */
void strand_post_first(struct strand *s, struct job *job);

/*
 * Start none of its jobs from now on (one that runs goes on), until strand_resume(). A job may
 * pause its own strand. Both may be repeated; they do not count.
 */
void strand_pause(struct strand *s);
void strand_resume(struct strand *s);

static inline void cleanup_workers_(struct workers **w)
{
	workers_stop(*w);
}

#define CLEANUP_WORKERS CLEANUP(cleanup_workers_)

#endif
