// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* A blob that is served: coming, its index, what becomes of its flights, going. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "lib/base/log.h"
#include "lib/base/log_event.h"
#include "lib/base/mem.h"
#include "lib/serve/engine/part.h"

enum {
	CANCEL_US = 100 * 1000, /* between two times that a removed blob's reads are cancelled */
};

static struct served_blob *blob_new(struct engine *e, const struct served_blob_parts *parts)
{
	struct served_blob *b = xzalloc(sizeof(*b));

	b->engine = e;
	b->cache = parts->cache;
	b->open_index = parts->open_index;
	b->completed = parts->completed;
	b->changed = parts->changed;
	b->arg = parts->arg;
	b->source = parts->source;
	b->digest = parts->digest;
	b->name = xstrdup(parts->name);
	atomic_init(&b->complete, store_blob_is_complete(b->cache));
	ahead_init(&b->ahead);
	room_init(&b->room);
	TAILQ_INIT(&b->index_waiters);
	TAILQ_INIT(&b->queue[DEMAND]);
	TAILQ_INIT(&b->queue[AHEAD]);
	TAILQ_INIT(&b->provers);
	if (parts->map)
		map_install_locked(b, parts->map); /* nobody else knows it yet */
	map_retire_locked(b);
	store_blob_on_loss(b->cache, parts->lost, parts->arg);
	return b;
}

struct served_blob *engine_add(struct engine *e, const struct served_blob_parts *parts)
{
	struct served_blob *b = blob_new(e, parts);

	pthread_mutex_lock(&e->lock);
	TAILQ_INSERT_TAIL(&e->blobs, b, of_engine);
	pthread_mutex_unlock(&e->lock);
	return b;
}

static void drop_queue(struct served_blob *b, enum level level)
{
	struct flight *f;

	while ((f = TAILQ_FIRST(&b->queue[level]))) {
		TAILQ_REMOVE(&b->queue[level], f, of_queue);
		flights_remove(&b->flights, f);
	}
}

/* Those who are being fetched stay the fetchers'. */
void blob_fail_waiters_locked(struct served_blob *b, struct want_list *done)
{
	wants_fail_locked(&b->index_waiters, EIO, done);
	for (uint32_t i = 0; i < b->flights.n_buckets; i++)
		for (struct flight *f = b->flights.buckets[i]; f; f = f->next)
			wants_fail_locked(&f->waiters, EIO, done);
	drop_queue(b, DEMAND);
	drop_queue(b, AHEAD);
}

void blob_leave_locked(struct served_blob *b)
{
	if (--b->busy)
		return;
	map_retire_locked(b);
	pthread_cond_broadcast(&b->engine->quiet);
}

static void cancel_locked(struct served_blob *b)
{
	struct prover *p;

	if (b->source->cancel)
		b->source->cancel(b->source, &b->digest);
	TAILQ_FOREACH(p, &b->provers, of_blob)
	{
		if (p->source->cancel)
			p->source->cancel(p->source, &b->digest);
	}
}

/* Again and again: who is at it may be about to begin the next read. */
void blob_wait_quiet_locked(struct served_blob *b)
{
	while (b->busy) {
		cancel_locked(b);
		engine_wait_locked(b->engine, &b->engine->quiet, engine_now() + CANCEL_US);
	}
}

/* Nobody can reach it any more. */
static void blob_free(struct served_blob *b)
{
	CLEANUP_ERROR struct error *err = NULL;

	if (store_blob_sync(b->cache, &err) < 0)
		log_warn("%s: %s", b->name, err->msg);
	store_blob_close(b->cache);
	map_free(b);
	flights_free(&b->flights);
	pthread_mutex_destroy(&b->ahead.lock);
	pthread_mutex_destroy(&b->room.lock);
	free(b->name);
	free(b);
}

void engine_remove(struct served_blob *b)
{
	struct want_list done = TAILQ_HEAD_INITIALIZER(done);
	struct engine *e = b ? b->engine : NULL;

	if (!b)
		return;
	pthread_mutex_lock(&e->lock);
	b->removed = true;
	turn_end_locked(b);
	blob_fail_waiters_locked(b, &done);
	queue_update_locked(b);
	pthread_mutex_unlock(&e->lock);
	wants_answer(&done);

	pthread_mutex_lock(&e->lock);
	blob_wait_quiet_locked(b);
	TAILQ_REMOVE(&e->blobs, b, of_engine);
	if (b->dirty)
		TAILQ_REMOVE(&e->dirty, b, of_dirty);
	counts_add_locked(e->gone, b);
	pthread_mutex_unlock(&e->lock);
	blob_free(b);
}

int served_blob_fd(const struct served_blob *b)
{
	return store_blob_fd(b->cache);
}

bool served_blob_is_complete(const struct served_blob *b)
{
	return atomic_load(&b->complete);
}

bool served_blob_is_empty(const struct served_blob *b)
{
	return !store_blob_present(b->cache);
}

void blob_tell_changed(struct served_blob *b, uint64_t offset, uint64_t len)
{
	if (b->changed && !b->removed)
		b->changed(b->arg, offset, len);
}

void blob_tell_broken(struct served_blob *b, const struct error *err)
{
	if (b->removed) /* we have cancelled it */
		return;
	log_event(is_full(err) ? EVENT_NO_SPACE : EVENT_FAULT, b->name, FIELD("blob", &b->digest),
		FIELD("error", err->msg));
}

void blob_tell_fault(struct served_blob *b, const struct error *err)
{
	count_add(b, COUNT_ERRORS, !b->removed);
	blob_tell_broken(b, err);
}

void blob_tell_answer(struct served_blob *b, bool good)
{
	bool recovered;

	pthread_mutex_lock(&b->engine->lock);
	recovered = good && b->failing;
	b->failing = !good;
	if (good)
		b->away_pause = 0;
	if (recovered && !b->lacking) {
		b->rest[DEMAND] = 0;
		queue_update_locked(b);
	}
	pthread_mutex_unlock(&b->engine->lock);
	if (recovered)
		log_event(EVENT_RECOVERY, b->name, FIELD("blob", &b->digest),
			FIELD("of", "its source answers again"));
}

void flight_land_locked(struct served_blob *b, struct flight *f, int error, struct want_list *done)
{
	struct want_list waiters = TAILQ_HEAD_INITIALIZER(waiters);
	struct want *w;

	TAILQ_CONCAT(&waiters, &f->waiters, of_list);
	flights_remove(&b->flights, f);
	if (error)
		wants_fail_locked(&waiters, error, done);
	while ((w = TAILQ_FIRST(&waiters))) {
		TAILQ_REMOVE(&waiters, w, of_list);
		want_go_on_locked(w, done);
	}
}
