/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Is the daemon well? Judged by what has changed since it was asked before. Part of metrics.c. */
#ifndef CONTROL_HEALTH_H
#define CONTROL_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/serve/engine/engine.h"

/*
 * Begins as { .since = now } when the daemon starts, not at the first look: what fails before
 * somebody looks has failed, too.
 */
struct health {
	uint64_t frames; /* fetched, when one came last */
	uint64_t since; /* when that was seen; milliseconds */
	uint64_t base; /* reads that had failed by then */
	uint64_t failed, failed_at; /* how many at the last look; when another one was seen */
};

/* A reader may be this long beyond its deadline, in nanoseconds. */
#define HEALTH_GRACE_NS UINT64_C(5000000000)
/* No word of readers that were failed longer ago than this, in milliseconds. */
#define HEALTH_MEMORY_MS UINT64_C(300000)

/*
 * True, or false with the reason: readers that wait beyond their deadline and were not even denied
 * (`overdue`); or reads that got an error, in the last minutes, while not one frame came. `now` is
 * in milliseconds, monotonic.
 */
bool health_judge(struct health *h, uint64_t now, const struct engine_stats *stats,
	unsigned overdue, char *reason, size_t size);

#endif
