// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Space in the store, in steps: each one looks at all of the store. The first is small, for many
 * blobs are read only a little. Prefetching takes none that others would miss (store.h), and so
 * nothing either of what was reserved for a reader, who may have the last there is. Reading ahead
 * is for a reader: he asks for the same a moment later.
 */
#include "config.h"

#include <errno.h>

#include "lib/serve/engine/part.h"

enum { STEP_MIN = 4 * 1024 * 1024, STEP_MAX = 64 * 1024 * 1024 };

void room_init(struct room *r)
{
	pthread_mutex_init(&r->lock, NULL);
	r->step = STEP_MIN;
}

static void add(struct room *r, enum level level, uint64_t bytes)
{
	r->bytes += bytes;
	if (level != PREFETCH)
		r->readers += bytes;
}

static int ask_store(struct served_blob *b, enum level level, uint64_t bytes, struct error **err)
{
	return level == PREFETCH ? store_blob_reserve_spare(b->cache, bytes, err)
				 : store_blob_reserve(b->cache, bytes, err);
}

/* A step, or where there is no room for it, what is missing. */
static int reserve(struct served_blob *b, enum level level, uint64_t missing, struct error **err)
{
	struct room *r = &b->room;
	uint64_t step = missing > r->step ? missing : r->step;

	if (ask_store(b, level, step, err) < 0) {
		if (step == missing || !is_full(*err))
			return -1;
		error_free(take_ptr(*err));
		step = missing;
		r->step = STEP_MIN;
		if (ask_store(b, level, step, err) < 0)
			return -1;
	} else if (r->step < STEP_MAX) {
		r->step *= 2;
	}
	add(r, level, step);
	return 0;
}

/* What is for readers alone is taken last. How much of that it is. */
static uint64_t take(struct room *r, uint64_t bytes)
{
	uint64_t before = r->readers;

	r->bytes -= bytes;
	r->readers = before < r->bytes ? before : r->bytes;
	return before - r->readers;
}

int room_take(struct run *run, uint64_t bytes, struct error **err)
{
	struct room *r = &run->blob->room;
	uint64_t have;
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	have = run->level == PREFETCH ? r->bytes - r->readers : r->bytes;
	if (have < bytes)
		rc = reserve(run->blob, run->level, bytes - have, err);
	if (rc == 0)
		run->readers = take(r, bytes);
	pthread_mutex_unlock(&r->lock);
	return rc;
}

void room_give_back(struct run *run, uint64_t bytes)
{
	uint64_t readers = run->readers < bytes ? run->readers : bytes;
	struct room *r = &run->blob->room;

	pthread_mutex_lock(&r->lock);
	r->bytes += bytes;
	r->readers += readers;
	pthread_mutex_unlock(&r->lock);
	run->readers -= readers;
}
