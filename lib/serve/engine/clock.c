// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* No reader waits for ever. */
#include "config.h"

#include <errno.h>

#include "lib/base/log_event.h"
#include "lib/serve/engine/part.h"

/* Who waits as well is told as soon as one more try has failed. */
static void starve_locked(struct served_blob *b)
{
	b->starved = true;
	b->rest[DEMAND] = 0;
	queue_update_locked(b);
}

static void expire_locked(struct engine *e, uint64_t now, struct want_list *done)
{
	struct want *w;

	while ((w = TAILQ_FIRST(&e->waiting)) && w->since + e->patience <= now) {
		TAILQ_REMOVE(w->list, w, of_list);
		count_add(w->blob, COUNT_DEADLINES, 1);
		log_event(EVENT_EXPIRED, w->blob->name, FIELD("blob", &w->blob->digest),
			FIELD("offset", w->offset), FIELD("length", w->len));
		if (w->blob->lacking)
			starve_locked(w->blob);
		want_end_locked(w, w->blob->lacking ? ENOSPC : EIO, done);
	}
}

/*
 * All have the same patience: the oldest is the first to lose it, and who comes while the clock
 * sleeps does not lose it sooner. So nobody has to wake it.
 */
void *clock_main(void *arg)
{
	struct engine *e = arg;

	pthread_mutex_lock(&e->lock);
	while (!e->stopping) {
		struct want_list done = TAILQ_HEAD_INITIALIZER(done);
		uint64_t now = engine_now();
		struct want *w;

		expire_locked(e, now, &done);
		if (!TAILQ_EMPTY(&done)) {
			pthread_mutex_unlock(&e->lock);
			wants_answer(&done);
			pthread_mutex_lock(&e->lock);
			continue;
		}
		w = TAILQ_FIRST(&e->waiting);
		engine_wait_locked(e, &e->clock, (w ? w->since : now) + e->patience);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}
