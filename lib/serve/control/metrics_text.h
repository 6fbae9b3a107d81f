/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The text that Prometheus reads. Part of metrics.c. */
#ifndef CONTROL_METRICS_TEXT_H
#define CONTROL_METRICS_TEXT_H

#include <jansson.h>
#include <stddef.h>

#include "lib/serve/engine/engine.h"
#include "lib/serve/holder/requests.h"

/* What is told, taken at one time. */
struct metrics_sample {
	const struct engine_stats *stats;
	const json_t *status; /* service_status() */
	const struct requests *requests; /* NULL: no holder */
};

/* The caller frees it. */
char *metrics_text(const struct metrics_sample *s, size_t *len);

/* Requests that were read and not yet answered; *overdue: those whose deadline was more than
 * `grace` nanoseconds before `now` (CLOCK_MONOTONIC). */
unsigned metrics_waiting(const struct requests *r, uint64_t now, uint64_t grace, unsigned *overdue);

#endif
