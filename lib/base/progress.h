/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* How far long work is: a bar on a terminal, a line now and then elsewhere, or nothing. */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include <stdint.h>

enum progress_mode { PROGRESS_NONE, PROGRESS_PLAIN, PROGRESS_BAR };

struct progress;

/*
 * Show `label` and how many of `total` bytes done() reports, from a thread of its own, until
 * progress_stop(). NULL with PROGRESS_NONE. total 0: not known.
 */
struct progress *progress_start(enum progress_mode mode, const char *label, uint64_t total,
	uint64_t (*done)(void *arg), void *arg);

/* NULL is allowed. */
void progress_stop(struct progress *p);

static inline void cleanup_progress_(struct progress **p)
{
	progress_stop(*p);
}

#define CLEANUP_PROGRESS CLEANUP(cleanup_progress_)

#endif
