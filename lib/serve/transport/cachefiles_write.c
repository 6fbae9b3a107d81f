// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A READ is answered with just what it asks for; what else is there around it follows, so that the
 * kernel need not ask. Our map of what was given decides nothing but that: what the kernel asks for
 * is always written, for the kernel knows best what it lacks.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/transport/cachefiles_part.h"

enum {
	PIECE = 1 << 20,
	SOON = 5000, /* milliseconds: a fault later than this is not tried to be avoided */
};

struct reading {
	struct job job; /* first */
	struct want want;
	struct cache_object *object;
	struct cache_source *source; /* NULL: none */
	uint32_t message;
	uint64_t from, to; /* whole blocks of the object */
	uint64_t since; /* milliseconds */
	int error;
	bool wide; /* whole granules are wanted */
	bool retried;
};

/* ---- writing ---- */

static int write_all(const struct cache_object *o, uint64_t at, const uint8_t *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(atomic_load(&o->fd), buf + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		done += (size_t)n;
	}
	return 0;
}

static bool is_lack_of_room(int code)
{
	return code == ENOBUFS || code == ENOSPC;
}

/* Memory is aligned for direct I/O. */
static int copy(const struct cache_object *o, const struct cache_source *s, uint64_t from,
	uint64_t to, bool need_room)
{
	CLEANUP_FREE uint8_t *buf = aligned_alloc(CACHE_BLOCK, PIECE);
	int code = 0;

	if (!buf)
		mem_exhausted();
	for (uint64_t at = from; !code && at < to;) {
		size_t n = to - at < PIECE ? (size_t)(to - at) : PIECE;

		code = cache_source_read(s, at, buf, n);
		if (!code)
			code = write_all(o, at, buf, n);
		if (is_lack_of_room(code) && need_room && cache_make_room(o->owner)) {
			need_room = false;
			code = 0;
			continue;
		}
		at += n;
	}
	return code;
}

/* A granule that nobody else has given, but for the part in [from, to), which was. */
static int copy_granule(struct cache_object *o, const struct cache_source *s, uint64_t granule)
{
	uint64_t at = granule * CACHE_GRANULE;
	uint64_t end = o->size - at < CACHE_GRANULE ? o->size : at + CACHE_GRANULE;
	int code = 0;

	if (!cache_object_claim(o, granule))
		return 0;
	code = copy(o, s, at, end, false);
	if (code)
		cache_object_unclaim(o, granule);
	return code;
}

/* ---- READ ---- */

static void reading_free(struct reading *r)
{
	struct cachefiles *c = r->object->owner;

	pthread_mutex_lock(&c->objects_lock);
	cache_source_put_locked(r->source);
	pthread_mutex_unlock(&c->objects_lock);
	cache_object_put(r->object);
	free(r);
	cachefiles_put(c);
}

/* EINVAL: the reader was killed meanwhile, or another answer came first. */
static void complete(const struct reading *r)
{
	const struct cachefiles *c = r->object->owner;

	if (c->ops.complete(atomic_load(&r->object->fd), r->message) < 0 && errno != EINVAL)
		log_warn("cachefiles: cannot answer a read of %s: %s",
			r->source ? r->source->cookie : "an unknown object", strerror(errno));
}

/* For a mount that came while another one went, the kernel keeps the object: its cookie is the
 * same, its source a new one. */
/* With the lock of sources. */
static struct cache_source *current_source(struct cache_object *o)
{
	struct cachefiles *c = o->owner;
	struct cache_source *s, *fresh;

	pthread_mutex_lock(&c->objects_lock);
	s = o->source;
	fresh = s && s->gone ? cache_source_find(c, s->cookie, strlen(s->cookie)) : NULL;
	if (fresh) {
		fresh->users++;
		fresh->open++;
		fresh->opened++;
		s->open--;
		cache_source_put_locked(s);
		s = o->source = fresh;
	}
	if (s)
		s->users++;
	pthread_mutex_unlock(&c->objects_lock);
	return s;
}

static void run(struct job *job);

static void go_on(struct reading *r)
{
	r->job.run = run;
	if (!cachefiles_post(r->object->owner, CACHE_URGENT, &r->job))
		reading_free(r);
}

/* On any thread; the transport may have ended. */
static void arrived(struct want *w, int error)
{
	struct reading *r = (struct reading *)((char *)w - offsetof(struct reading, want));

	r->error = error;
	go_on(r);
}

static void want_blob(struct reading *r)
{
	uint64_t from = r->from, to = r->to;

	if (r->wide) {
		from = from / CACHE_GRANULE * CACHE_GRANULE;
		to = (to + CACHE_GRANULE - 1) / CACHE_GRANULE * CACHE_GRANULE;
	}
	r->want = (struct want){ .done = arrived };
	engine_want(r->source->blob->served, from, to - from, &r->want);
}

/* Find out where the bytes are, and have them brought. */
static void ask(struct reading *r)
{
	struct cachefiles *c = r->object->owner;

	pthread_rwlock_rdlock(&c->sources_lock);
	if (!r->source)
		r->source = current_source(r->object);
	r->error = !r->source || r->from >= r->to ? EIO : 0;
	if (!r->error && !cache_source_is_ready(r->source)) {
		if (r->source->blob) {
			want_blob(r); /* it may be over before this returns */
			pthread_rwlock_unlock(&c->sources_lock);
			return;
		}
		r->error = EIO;
	}
	pthread_rwlock_unlock(&c->sources_lock);
	go_on(r);
}

/* What was brought around it; of what is small, all. */
static void give_more(const struct reading *r)
{
	struct cache_object *o = r->object;
	uint64_t last = (r->to - 1) / CACHE_GRANULE;

	if (r->source->at_once) {
		cache_fill(o);
		return;
	}
	for (uint64_t g = r->from / CACHE_GRANULE; r->wide && g <= last; g++)
		if (copy_granule(o, r->source, g) != 0)
			return;
}

/* Is there another way to get at it? */
static bool try_again(struct reading *r)
{
	if (cachefiles_now() - r->since > SOON)
		return false;
	if (r->wide) /* the fault may be in what nobody needs */
		r->wide = false;
	else if (r->error == ENOSPC && !r->retried && cache_make_room(r->object->owner))
		r->retried = true;
	else
		return false;
	ask(r);
	return true;
}

static void run(struct job *job)
{
	struct reading *r = (struct reading *)job;

	if (r->error && r->source && r->from < r->to && try_again(r))
		return;
	if (!r->error)
		r->error = copy(r->object, r->source, r->from, r->to, true);
	if (r->error)
		log_debug("cachefiles: a read of %s at %llu fails: %s",
			r->source ? r->source->cookie : "an unknown object",
			(unsigned long long)r->from, strerror(r->error));
	complete(r);
	if (!r->error)
		give_more(r);
	reading_free(r);
}

void cache_read(struct cache_object *o, uint32_t message, uint64_t offset, uint64_t len)
{
	struct reading *r = xzalloc(sizeof(*r));
	uint64_t end = offset + len; /* at most INT64_MAX */

	end = (end + CACHE_BLOCK - 1) / CACHE_BLOCK * CACHE_BLOCK;
	*r = (struct reading){ .object = o,
		.message = message,
		.from = offset / CACHE_BLOCK * CACHE_BLOCK,
		.to = end < o->size ? end : o->size,
		.since = cachefiles_now(),
		.wide = true };
	cachefiles_hold(o->owner);
	ask(r);
}

/* ---- all of an object ---- */

struct filling {
	struct job job; /* first */
	struct cache_object *object;
	struct cache_source *source;
	uint64_t at, n; /* granules */
};

static void filling_free(struct filling *f)
{
	struct cachefiles *c = f->object->owner;

	pthread_mutex_lock(&c->objects_lock);
	cache_source_put_locked(f->source);
	pthread_mutex_unlock(&c->objects_lock);
	atomic_store(&f->object->filling, false);
	cache_object_put(f->object);
	free(f);
	cachefiles_put(c);
}

static int priority_of(const struct filling *f)
{
	return f->source->at_once ? CACHE_PREFETCH : CACHE_BACKGROUND;
}

/* One granule at a time, so that nobody who waits waits for it. Without room it is given up: what
 * is asked for comes first. */
static void fill_one(struct job *job)
{
	struct filling *f = (struct filling *)job;

	if (f->at == f->n || f->object->closed ||
		copy_granule(f->object, f->source, f->at++) != 0 ||
		!cachefiles_post(f->object->owner, priority_of(f), &f->job))
		filling_free(f);
}

void cache_fill(struct cache_object *o)
{
	struct cachefiles *c = o->owner;
	struct filling *f;

	if (atomic_exchange(&o->filling, true))
		return;
	f = xzalloc(sizeof(*f));
	f->job.run = fill_one;
	f->object = cache_object_get(c, o->id);
	if (!f->object) { /* closed by now */
		free(f);
		return;
	}
	cachefiles_hold(c);
	pthread_rwlock_rdlock(&c->sources_lock);
	f->source = current_source(o);
	pthread_rwlock_unlock(&c->sources_lock);
	if (f->source)
		f->n = (f->source->data + CACHE_GRANULE - 1) / CACHE_GRANULE;
	if (f->n > o->n_granules)
		f->n = o->n_granules;
	if (!f->n || !cachefiles_post(c, priority_of(f), &f->job))
		filling_free(f);
}
