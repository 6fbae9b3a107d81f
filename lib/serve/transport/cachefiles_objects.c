// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/serve/transport/cachefiles_part.h"

static struct cache_object **bucket_of(struct cachefiles *c, uint32_t id)
{
	return &c->objects[id % CACHE_BUCKETS];
}

/* One that the kernel has closed may still be in use. */
static struct cache_object *find_open(struct cachefiles *c, uint32_t id)
{
	struct cache_object *o = *bucket_of(c, id);

	while (o && (o->id != id || o->closed))
		o = o->next;
	return o;
}

static void take_out(struct cache_object *o)
{
	struct cache_object **at = bucket_of(o->owner, o->id);

	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
}

/* True: nobody has it any more, and it is in no list. */
static bool put_locked(struct cache_object *o)
{
	if (--o->users)
		return false;
	take_out(o);
	cache_source_put_locked(o->source);
	return true;
}

/* Closing can wait for the kernel: not with a lock. */
static void release(struct cache_object *o)
{
	struct cachefiles *c = o->owner;
	int fd = atomic_load(&o->fd);

	cleanup_fd_(&fd);
	free(o->claimed);
	free(o);
	cachefiles_put(c);
}

void cache_object_put(struct cache_object *o)
{
	struct cachefiles *c = o->owner;
	bool last;

	pthread_mutex_lock(&c->objects_lock);
	last = put_locked(o);
	pthread_mutex_unlock(&c->objects_lock);
	if (last)
		release(o);
}

static bool close_locked(struct cache_object *o)
{
	o->closed = true;
	if (o->source)
		o->source->open--;
	return put_locked(o);
}

void cache_object_close(struct cachefiles *c, uint32_t id)
{
	struct cache_object *o;
	bool last = false;

	pthread_mutex_lock(&c->objects_lock);
	o = find_open(c, id);
	if (o)
		last = close_locked(o);
	pthread_mutex_unlock(&c->objects_lock);
	if (last)
		release(o);
}

struct cache_object *cache_object_add(
	struct cachefiles *c, uint32_t id, int fd, struct cache_source *source)
{
	struct cache_object *o = xzalloc(sizeof(*o));

	cache_object_close(c, id); /* the kernel gives no number twice, but who knows */
	o->owner = c;
	o->id = id;
	o->users = 1;
	atomic_init(&o->fd, fd);
	o->source = source;
	o->size = source ? source->size : 0;
	o->n_granules = (o->size + CACHE_GRANULE - 1) / CACHE_GRANULE;
	o->claimed = xcalloc(o->n_granules / 8 + 1, sizeof(*o->claimed));
	cachefiles_hold(c);
	pthread_mutex_lock(&c->objects_lock);
	if (source) {
		source->users++;
		source->open++;
		source->opened++;
	}
	o->next = *bucket_of(c, id);
	*bucket_of(c, id) = o;
	pthread_mutex_unlock(&c->objects_lock);
	return o;
}

struct cache_object *cache_object_get(struct cachefiles *c, uint32_t id)
{
	struct cache_object *o;

	pthread_mutex_lock(&c->objects_lock);
	o = find_open(c, id);
	if (o)
		o->users++;
	pthread_mutex_unlock(&c->objects_lock);
	return o;
}

void cache_objects_each(
	struct cachefiles *c, const struct cache_source *s, void (*each)(struct cache_object *o))
{
	struct cache_object **found = NULL;
	size_t n = 0, cap = 0;

	pthread_mutex_lock(&c->objects_lock);
	for (size_t i = 0; i < CACHE_BUCKETS; i++)
		for (struct cache_object *o = c->objects[i]; o; o = o->next)
			if (!o->closed && o->source == s) {
				found = xgrow(found, n, &cap, sizeof(struct cache_object *));
				found[n++] = o;
				o->users++;
			}
	pthread_mutex_unlock(&c->objects_lock);
	while (n--) {
		each(found[n]);
		cache_object_put(found[n]);
	}
	free(found);
}

/* The kernel's close of the device waits for them. What still waits for the engine keeps the rest.
 */
static struct cache_object *close_one(struct cachefiles *c, size_t bucket, bool *released)
{
	struct cache_object *o;

	*released = false;
	for (o = c->objects[bucket]; o; o = o->next) {
		int fd = atomic_exchange(&o->fd, -1);

		cleanup_fd_(&fd);
	}
	for (o = c->objects[bucket]; o && o->closed; o = o->next)
		;
	if (o)
		*released = close_locked(o);
	return o;
}

void cache_objects_end(struct cachefiles *c)
{
	for (size_t i = 0; i < CACHE_BUCKETS; i++) {
		struct cache_object *o;
		bool released;

		do {
			pthread_mutex_lock(&c->objects_lock);
			o = close_one(c, i, &released);
			pthread_mutex_unlock(&c->objects_lock);
			if (released)
				release(o);
		} while (o);
	}
}

/* ---- granules ---- */

bool cache_object_claim(struct cache_object *o, uint64_t granule)
{
	unsigned char bit = (unsigned char)(1u << (granule % 8));

	return !(atomic_fetch_or(&o->claimed[granule / 8], bit) & bit);
}

void cache_object_unclaim(struct cache_object *o, uint64_t granule)
{
	atomic_fetch_and(&o->claimed[granule / 8], (unsigned char)~(1u << (granule % 8)));
}
