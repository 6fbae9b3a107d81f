/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What was waited for just now, for long, and in vain. One read(2) comes to us as several requests,
 * one after the other: a read ahead that fails is asked for once more, page by page, by each
 * filesystem that has pages (EROFS, and FUSE beneath it). Each would wait as long as the first. So
 * for a moment after that failure, who wants some of the same bytes gets them if they are there, or
 * else the same error at once.
 */
#ifndef SERVE_FUSE_LATE_H
#define SERVE_FUSE_LATE_H

#include <pthread.h>
#include <stdint.h>

enum {
	LATE_MAX = 32, /* failures that are remembered, the last ones */
	LATE_AFTER = 1000, /* milliseconds; what failed sooner may be tried again */
	LATE_FRESH = 1000, /* milliseconds */
};

/* Bytes of a node. */
struct late_read {
	uint64_t node, offset, len;
};

struct late {
	pthread_mutex_t lock;
	_Atomic uint64_t until; /* after that, nothing in it is fresh */
	unsigned next;
	struct {
		struct late_read read;
		uint64_t until;
		int error;
	} failed[LATE_MAX];
};

uint64_t late_now(void); /* milliseconds, monotonic */

void late_init(struct late *l);
void late_destroy(struct late *l);

/* It has failed now, with this errno, after it had begun then. */
void late_note(
	struct late *l, const struct late_read *read, uint64_t since, uint64_t now, int error);

/* The errno of such a failure that is fresh, or 0: it may wait. Mostly without the lock. */
int late_find(struct late *l, const struct late_read *read, uint64_t now);

#endif
