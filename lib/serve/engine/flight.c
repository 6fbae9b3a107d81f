// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A blob's frames under way, by number. A frame that nobody asked for takes no memory: a blob may
 * have millions of them, and few are under way at a time.
 */
#include "config.h"

#include "lib/base/mem.h"
#include "lib/serve/engine/part.h"

enum { BUCKETS_MIN = 16 };

/* Neighbours, which are the rule, come to different buckets. */
static struct flight **bucket(const struct flights *t, uint32_t frame)
{
	return &t->buckets[frame & (t->n_buckets - 1)];
}

struct flight *flights_find(const struct flights *t, uint32_t frame)
{
	struct flight *f = t->n ? *bucket(t, frame) : NULL;

	while (f && f->frame != frame)
		f = f->next;
	return f;
}

static void grow(struct flights *t)
{
	struct flights old = *t;

	t->n_buckets = old.n_buckets ? old.n_buckets * 2 : BUCKETS_MIN;
	t->buckets = xcalloc(t->n_buckets, sizeof(struct flight *));
	for (uint32_t i = 0; i < old.n_buckets; i++)
		for (struct flight *f = old.buckets[i], *next; f; f = next) {
			next = f->next;
			f->next = *bucket(t, f->frame);
			*bucket(t, f->frame) = f;
		}
	free(old.buckets);
}

struct flight *flights_add(struct flights *t, uint32_t frame)
{
	struct flight *f = xzalloc(sizeof(*f));

	if (t->n == t->n_buckets)
		grow(t);
	f->frame = frame;
	TAILQ_INIT(&f->waiters);
	f->next = *bucket(t, frame);
	*bucket(t, frame) = f;
	t->n++;
	return f;
}

/* A table that a large want has made large goes with its last flight. */
void flights_remove(struct flights *t, struct flight *f)
{
	struct flight **at = bucket(t, f->frame);

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	free(f);
	if (--t->n == 0 && t->n_buckets > BUCKETS_MIN)
		flights_free(t);
}

void flights_free(struct flights *t)
{
	free(t->buckets);
	*t = (struct flights){ 0 };
}
