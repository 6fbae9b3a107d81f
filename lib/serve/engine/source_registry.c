// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A place that fails (or lies) is asked after all others for a while. It is still asked: when the
 * others fail, too, it is what there is.
 */
#include "config.h"

#include <pthread.h>
#include <time.h>

#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/engine/sources.h"

enum { SHUN_MIN = 30, SHUN_MAX = 600 }; /* seconds */

struct place {
	struct registry *registry;
	unsigned shun; /* seconds, the last time; 0: it is well */
	time_t until;
};

struct registry_source {
	struct blob_source source;
	pthread_mutex_t lock; /* for what is known of the places */
	size_t n;
	struct place places[];
};

/* Who answered last on this thread, for blame(). */
static _Thread_local struct place *answered;

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Those that are well in their order, then the others in theirs. */
static void sort(struct registry_source *s, struct place **order)
{
	time_t t = now();
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	for (int shunned = 0; shunned <= 1; shunned++)
		for (size_t i = 0; i < s->n; i++)
			if ((t < s->places[i].until) == shunned)
				order[n++] = &s->places[i];
	pthread_mutex_unlock(&s->lock);
}

/* Requests that fail together count once. */
static void shun(struct registry_source *s, struct place *p)
{
	time_t t = now();

	pthread_mutex_lock(&s->lock);
	if (t >= p->until) {
		p->shun = p->shun ? p->shun * 2 : SHUN_MIN;
		if (p->shun > SHUN_MAX)
			p->shun = SHUN_MAX;
		p->until = t + (time_t)p->shun;
	}
	pthread_mutex_unlock(&s->lock);
}

static void trust(struct registry_source *s, struct place *p)
{
	time_t t = now();

	pthread_mutex_lock(&s->lock);
	if (t >= p->until) /* it may have answered long before another request failed */
		p->shun = 0;
	pthread_mutex_unlock(&s->lock);
}

static int registry_read(struct blob_source *source, const struct digest *blob, uint64_t offset,
	void *buf, size_t len, struct error **err)
{
	struct registry_source *s = (struct registry_source *)source;
	CLEANUP_FREE struct place **order = xcalloc(s->n, sizeof(struct place *));

	sort(s, order);
	for (size_t i = 0; i < s->n; i++) {
		if (i) {
			log_debug("%s; asking elsewhere", (*err)->msg);
			error_free(take_ptr(*err));
		}
		if (registry_read_blob(order[i]->registry, blob, offset, buf, len, err) == 0) {
			answered = order[i];
			trust(s, order[i]);
			return 0;
		}
		shun(s, order[i]);
		if (interrupt_pending())
			break;
	}
	return -1;
}

static void registry_blame(struct blob_source *source)
{
	struct registry_source *s = (struct registry_source *)source;

	if (answered >= s->places && answered < s->places + s->n)
		shun(s, answered);
}

static void registry_source_close(struct blob_source *source)
{
	struct registry_source *s = (struct registry_source *)source;

	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct blob_source *source_registry_new(struct registry *const *places, size_t n)
{
	struct registry_source *s = xzalloc(sizeof(*s) + n * sizeof(s->places[0]));

	s->source = (struct blob_source){
		.read = registry_read,
		.blame = registry_blame,
		.close = registry_source_close,
		.gap = 128 * 1024, /* some round trip's worth */
	};
	pthread_mutex_init(&s->lock, NULL);
	s->n = n;
	for (size_t i = 0; i < n; i++)
		s->places[i].registry = places[i];
	return &s->source;
}
