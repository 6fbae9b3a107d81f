// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A blob's index: loaded when somebody wants something, given back when all is there. Wants look at
 * it without a lock; so it is freed by whoever is the last to look.
 */
#include "config.h"

#include <errno.h>

#include "lib/serve/engine/part.h"

const struct range_map *map_enter(struct served_blob *b)
{
	atomic_fetch_add(&b->lookers, 1);
	return atomic_load(&b->map);
}

/* Who looks now came when the map was gone already, or is counted. */
static void free_retired_locked(struct served_blob *b)
{
	if (atomic_load(&b->lookers) == 0)
		range_map_free(atomic_exchange(&b->retired, NULL));
}

void map_leave(struct served_blob *b)
{
	if (atomic_fetch_sub(&b->lookers, 1) != 1 || !atomic_load(&b->retired))
		return;
	pthread_mutex_lock(&b->engine->lock);
	free_retired_locked(b);
	pthread_mutex_unlock(&b->engine->lock);
}

void map_install_locked(struct served_blob *b, struct range_map *m)
{
	b->cached = map_count_cached(b, m);
	atomic_store(&b->map, m);
}

/* One that could not be loaded again stays: engine_prove() needs it. */
void map_retire_locked(struct served_blob *b)
{
	if (!b->complete || !b->open_index || !blob_map(b) || b->opening || b->flights.n)
		return;
	b->prefetch = false;
	atomic_store(&b->retired, atomic_exchange(&b->map, NULL));
	free_retired_locked(b);
}

void map_free(struct served_blob *b)
{
	range_map_free(b->map);
	range_map_free(b->retired);
}

uint64_t map_count_cached(const struct served_blob *b, const struct range_map *m)
{
	uint32_t n = store_blob_present(b->cache) ? range_map_n_frames(m) : 0;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < n; i++)
		if (store_blob_has(b->cache, i))
			bytes += range_map_frame(m, i).size;
	return bytes;
}

void index_opened_locked(struct served_blob *b, struct range_map *m, struct want_list *done)
{
	struct want_list wants = TAILQ_HEAD_INITIALIZER(wants);
	struct want *w;

	map_install_locked(b, m);
	TAILQ_CONCAT(&wants, &b->index_waiters, of_list);
	while ((w = TAILQ_FIRST(&wants))) {
		TAILQ_REMOVE(&wants, w, of_list);
		want_begin_locked(w, done);
	}
}

/* There is no index. Who waits goes on waiting if whoever has it is only away. */
static bool index_failed_locked(
	struct served_blob *b, const struct error *err, struct want_list *done)
{
	bool waits = !TAILQ_EMPTY(&b->index_waiters) && err->code == EAGAIN && !b->removed;

	if (waits)
		fetch_rest_locked(b);
	else
		wants_fail_locked(&b->index_waiters, EIO, done);
	prefetch_rest_locked(b);
	return waits;
}

static void end_opening(struct served_blob *b, struct range_map *opened, const struct error *err)
{
	struct want_list done = TAILQ_HEAD_INITIALIZER(done);
	CLEANUP_RANGE_MAP struct range_map *m = opened;
	bool news, waits = false;

	pthread_mutex_lock(&b->engine->lock);
	b->opening = false;
	news = m && !blob_map(b) && store_blob_present(b->cache);
	if (m && !blob_map(b))
		index_opened_locked(b, take_ptr(m), &done);
	else if (!m && !blob_map(b))
		waits = index_failed_locked(b, err, &done);
	queue_update_locked(b);
	pthread_mutex_unlock(&b->engine->lock);
	if (waits)
		blob_tell_broken(b, err);
	else if (err)
		blob_tell_fault(b, err);
	if (news)
		blob_tell_changed(b, 0, UINT64_MAX);
	wants_answer(&done);
}

void blob_open_index(struct served_blob *b)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct range_map *m = b->open_index(b->arg, b->source, &err);

	blob_tell_answer(b, m != NULL);
	end_opening(b, m, err);
}
