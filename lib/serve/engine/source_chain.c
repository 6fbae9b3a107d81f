// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A source that fails (or lies) is asked after all others for a while. It is still asked: when the
 * others fail, too, it is what there is.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/engine/sources.h"

enum { SHUN_MIN = 30, SHUN_MAX = 600 }; /* seconds */

struct member {
	struct blob_source *source;
	unsigned shun; /* seconds, the last time; 0: it is well */
	time_t until;
};

struct chain {
	struct blob_source source;
	pthread_mutex_t lock; /* for what is known of the members */
	size_t n;
	struct member members[];
};

/* Who answered last on this thread, for blame(). */
static _Thread_local struct member *answered;

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Those that are well in their order, then the others, by when they will be again. */
static void sort(struct chain *c, struct member **order)
{
	time_t t = now();

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->n; i++) {
		struct member *m = &c->members[i];
		size_t at = i;

		for (; at && t < order[at - 1]->until && m->until < order[at - 1]->until; at--)
			order[at] = order[at - 1];
		order[at] = m;
	}
	pthread_mutex_unlock(&c->lock);
}

/* Requests that fail together count once. `why`: NULL where others say it. */
static void shun(struct chain *c, struct member *m, const struct error *why)
{
	time_t t = now();
	unsigned seconds = 0;

	pthread_mutex_lock(&c->lock);
	if (t >= m->until) {
		m->shun = m->shun ? m->shun * 2 : SHUN_MIN;
		if (m->shun > SHUN_MAX)
			m->shun = SHUN_MAX;
		m->until = t + (time_t)m->shun;
		seconds = m->shun;
	}
	pthread_mutex_unlock(&c->lock);
	if (seconds && why && c->n > 1)
		log_warn("%s; it is asked after the others for %u s", why->msg, seconds);
}

static void trust(struct chain *c, struct member *m)
{
	time_t t = now();

	pthread_mutex_lock(&c->lock);
	if (t >= m->until) /* it may have answered long before another request failed */
		m->shun = 0;
	pthread_mutex_unlock(&c->lock);
}

/* Is it nobody's fault? */
static bool is_given_up(const struct error *e)
{
	return e->code == ECANCELED || interrupt_pending();
}

static int chain_read(struct blob_source *source, const struct digest *blob, uint64_t offset,
	void *buf, size_t len, struct error **err)
{
	struct chain *c = (struct chain *)source;
	CLEANUP_FREE struct member **order = xcalloc(c->n, sizeof(struct member *));
	bool later = false;

	sort(c, order);
	for (size_t i = 0; i < c->n; i++) {
		struct blob_source *s = order[i]->source;
		int rc;

		if (i) {
			log_debug("%s; asking elsewhere", (*err)->msg);
			error_free(take_ptr(*err));
		}
		rc = s->read(s, blob, offset, buf, len, err);
		if (rc >= 0) {
			answered = order[i];
			trust(c, order[i]);
			return i ? 1 : rc;
		}
		if (is_given_up(*err))
			return -1;
		later |= (*err)->code == EAGAIN;
		shun(c, order[i], *err);
	}
	if (later)
		(*err)->code = EAGAIN;
	return -1;
}

/* Of whoever is asked first. */
static int chain_stream(struct blob_source *source, const struct digest *blob, uint64_t offset,
	uint64_t len, const struct stream_user *user, struct error **err)
{
	struct chain *c = (struct chain *)source;
	CLEANUP_FREE struct member **order = xcalloc(c->n, sizeof(struct member *));
	int rc;

	sort(c, order);
	answered = order[0];
	rc = source_stream(order[0]->source, blob, offset, len, user, err);
	if (rc == 0)
		trust(c, order[0]);
	else if (!is_given_up(*err))
		shun(c, order[0], *err);
	return rc;
}

static void chain_blame(struct blob_source *source)
{
	struct chain *c = (struct chain *)source;
	struct blob_source *s;

	if (answered < c->members || answered >= c->members + c->n)
		return;
	s = answered->source;
	shun(c, answered, NULL);
	if (s->blame)
		s->blame(s);
}

static void chain_cancel(struct blob_source *source, const struct digest *blob)
{
	const struct chain *c = (const struct chain *)source;

	for (size_t i = 0; i < c->n; i++)
		if (c->members[i].source->cancel)
			c->members[i].source->cancel(c->members[i].source, blob);
}

static void chain_close(struct blob_source *source)
{
	struct chain *c = (struct chain *)source;

	for (size_t i = 0; i < c->n; i++)
		c->members[i].source->close(c->members[i].source);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct blob_source *source_chain_new(struct blob_source *const *sources, size_t n)
{
	struct chain *c = xzalloc(sizeof(*c) + n * sizeof(c->members[0]));

	c->source = (struct blob_source){
		.read = chain_read,
		.stream = n ? chain_stream : NULL,
		.blame = chain_blame,
		.cancel = chain_cancel,
		.close = chain_close,
	};
	pthread_mutex_init(&c->lock, NULL);
	c->n = n;
	c->source.place = n ? sources[0]->place : 0;
	for (size_t i = 0; i < n; i++) {
		c->members[i].source = sources[i];
		if (c->source.gap < sources[i]->gap)
			c->source.gap = sources[i]->gap;
	}
	return &c->source;
}
