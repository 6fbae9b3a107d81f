/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* When to try again, and after how long. */
#ifndef REGISTRY_RETRY_H
#define REGISTRY_RETRY_H

#include "lib/registry/http.h"

struct retry {
	unsigned most; /* tries after the first */
	unsigned made; /* since the last progress */
	bool discreet; /* who repeats ranges of data tells of it himself */
	const struct http_control *control; /* whose cancel ends the waiting; or NULL */
};

/* May the same request be answered some other time? */
bool retry_is_transient(const struct http_answer *a);

/* Is this an answer, or the lack of one, that another try may better? */
bool retry_worthwhile(const struct retry *r, const struct http_answer *a);

/*
 * One more failure: wait, and true; or false when there have been enough, or the waiting was
 * cancelled or interrupted. `why` is for the log; people see it when they have waited for long.
 */
bool retry_wait(struct retry *r, const struct http_answer *a, const char *why);

/* Enough has come to begin counting anew. */
void retry_progress(struct retry *r, uint64_t bytes);

/* For tests: waiting takes a part of its time. */
void retry_set_divisor(unsigned divisor);

#endif
