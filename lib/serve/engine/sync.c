// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* What has been written comes to the disk now and then, by a thread that nobody waits for. */
#include "config.h"

#include "lib/base/log.h"
#include "lib/serve/engine/part.h"

enum {
	SYNC_BYTES = 256 * 1024 * 1024, /* what a crash may cost */
	SYNC_US = 5 * 1000 * 1000, /* and since when */
	PUSH_BYTES = 32 * 1024 * 1024, /* until the disk begins: the last sync, until which reads
					  ask for leave, is short then */
};

static uint64_t due(const struct served_blob *b)
{
	bool now = b->unsynced >= SYNC_BYTES || store_blob_is_complete(b->cache);
	uint64_t at = now ? b->dirty_since : b->dirty_since + SYNC_US;

	return at > b->sync_rest ? at : b->sync_rest;
}

static void mark_dirty(struct served_blob *b)
{
	if (!b->dirty) {
		b->dirty_since = engine_now();
		TAILQ_INSERT_TAIL(&b->engine->dirty, b, of_dirty);
	}
	b->dirty = true;
}

void sync_note_locked(struct served_blob *b, uint64_t bytes)
{
	bool news = !b->dirty;

	mark_dirty(b);
	b->unsynced += bytes;
	b->unpushed += bytes;
	if (news || due(b) <= engine_now() || b->unpushed >= PUSH_BYTES)
		pthread_cond_signal(&b->engine->sync);
}

static struct served_blob *next_due(struct engine *e, uint64_t *wake)
{
	uint64_t now = engine_now();
	struct served_blob *b;

	TAILQ_FOREACH(b, &e->dirty, of_dirty)
	{
		uint64_t at = due(b);

		if (b->removed) /* who removes it syncs it */
			continue;
		if (at <= now)
			return b;
		if (at < *wake)
			*wake = at;
	}
	return NULL;
}

static struct served_blob *next_to_push(struct engine *e)
{
	struct served_blob *b;

	TAILQ_FOREACH(b, &e->dirty, of_dirty)
	{
		if (b->unpushed >= PUSH_BYTES && !b->removed)
			return b;
	}
	return NULL;
}

static void complete(struct served_blob *b)
{
	if (atomic_exchange(&b->complete, true))
		return;
	log_debug("%s: complete", b->name);
	if (b->completed && !b->removed)
		b->completed(b->arg);
}

/* A sync that failed is tried again; frames that it has lost are fetched again when wanted. */
static void sync_locked(struct engine *e, struct served_blob *b)
{
	CLEANUP_ERROR struct error *err = NULL;
	bool all = store_blob_is_complete(b->cache);
	int rc;

	TAILQ_REMOVE(&e->dirty, b, of_dirty);
	b->dirty = false;
	b->unsynced = b->unpushed = 0;
	b->busy++;
	pthread_mutex_unlock(&e->lock);
	rc = store_blob_sync(b->cache, &err);
	if (rc < 0) {
		blob_tell_changed(b, 0, UINT64_MAX);
		blob_tell_fault(b, err);
	} else if (all)
		complete(b);
	pthread_mutex_lock(&e->lock);
	if (rc < 0) {
		b->cached = blob_map(b) ? map_count_cached(b, blob_map(b)) : 0;
		b->sync_rest = engine_now() + SYNC_US;
		mark_dirty(b);
		prefetch_again_locked(b);
		queue_update_locked(b);
	}
	blob_leave_locked(b);
}

static void push_locked(struct engine *e, struct served_blob *b)
{
	b->unpushed = 0;
	b->busy++;
	pthread_mutex_unlock(&e->lock);
	store_blob_push(b->cache);
	pthread_mutex_lock(&e->lock);
	blob_leave_locked(b);
}

void *sync_main(void *arg)
{
	struct engine *e = arg;

	pthread_mutex_lock(&e->lock);
	while (!e->stopping) {
		uint64_t wake = UINT64_MAX;
		struct served_blob *b = next_due(e, &wake), *push = b ? NULL : next_to_push(e);

		if (b)
			sync_locked(e, b);
		else if (push)
			push_locked(e, push);
		else
			engine_wait_locked(e, &e->sync, wake);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}
