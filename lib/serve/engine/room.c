// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Space in the store, in steps: each one looks at all of the store. The first is small, for many
 * blobs are read only a little.
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

/* A step, or where there is no room for it, what is missing. */
static int reserve(struct served_blob *b, uint64_t missing, struct error **err)
{
	struct room *r = &b->room;
	uint64_t step = missing > r->step ? missing : r->step;

	if (store_blob_reserve(b->cache, step, err) < 0) {
		if (step == missing || !is_full(*err))
			return -1;
		error_free(take_ptr(*err));
		step = missing;
		r->step = STEP_MIN;
		if (store_blob_reserve(b->cache, step, err) < 0)
			return -1;
	} else if (r->step < STEP_MAX) {
		r->step *= 2;
	}
	r->bytes += step;
	return 0;
}

int room_take(struct served_blob *b, uint64_t bytes, struct error **err)
{
	struct room *r = &b->room;
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	if (r->bytes < bytes)
		rc = reserve(b, bytes - r->bytes, err);
	if (rc == 0)
		r->bytes -= bytes;
	pthread_mutex_unlock(&r->lock);
	return rc;
}

void room_give_back(struct served_blob *b, uint64_t bytes)
{
	pthread_mutex_lock(&b->room.lock);
	b->room.bytes += bytes;
	pthread_mutex_unlock(&b->room.lock);
}
