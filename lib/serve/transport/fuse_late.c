// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/transport/fuse_late.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

uint64_t late_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void late_init(struct late *l)
{
	memset(l, 0, sizeof(*l));
	pthread_mutex_init(&l->lock, NULL);
}

void late_destroy(struct late *l)
{
	pthread_mutex_destroy(&l->lock);
}

void late_note(
	struct late *l, const struct late_read *read, uint64_t since, uint64_t now, int error)
{
	if (now - since < LATE_AFTER)
		return;
	pthread_mutex_lock(&l->lock);
	l->failed[l->next].read = *read;
	l->failed[l->next].until = now + LATE_FRESH;
	l->failed[l->next].error = error;
	l->next = (l->next + 1) % LATE_MAX;
	atomic_store(&l->until, now + LATE_FRESH);
	pthread_mutex_unlock(&l->lock);
}

static bool overlap(const struct late_read *a, const struct late_read *b)
{
	return a->node == b->node && a->offset < b->offset + b->len &&
	       b->offset < a->offset + a->len;
}

int late_find(struct late *l, const struct late_read *read, uint64_t now)
{
	int error = 0;

	if (atomic_load(&l->until) <= now)
		return 0;
	pthread_mutex_lock(&l->lock);
	for (unsigned i = 0; i < LATE_MAX && !error; i++)
		if (l->failed[i].until > now && overlap(&l->failed[i].read, read))
			error = l->failed[i].error;
	pthread_mutex_unlock(&l->lock);
	return error;
}
