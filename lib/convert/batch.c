// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/convert/batch.h"

#include <string.h>

#include "lib/base/mem.h"

enum { PAGES_KEPT = 2 };

/* Readers that found no batch, by their jobs; each is posted again to its own strand. */
struct waiter {
	struct strand *strand;
	struct job *job;
};

struct batch_pool {
	pthread_mutex_t lock;
	struct batch *free;
	unsigned n, n_free;
	struct waiter *waiters;
	size_t n_waiters, cap;
};

struct batch_pool *batch_pool_new(unsigned n)
{
	struct batch_pool *pool = xzalloc(sizeof(*pool));

	pthread_mutex_init(&pool->lock, NULL);
	pool->n = pool->n_free = n;
	for (unsigned i = 0; i < n; i++) {
		struct batch *b = xmalloc(sizeof(*b));

		memset(b, 0, offsetof(struct batch, bytes));
		b->next = pool->free;
		pool->free = b;
	}
	return pool;
}

static void free_events(struct batch *b)
{
	for (size_t i = 0; i < b->n_events; i++)
		if (b->events[i].type == EVENT_ENTRY)
			free(b->events[i].entry);
	b->n_events = 0;
}

static void trim_pages(struct batch *b, size_t keep)
{
	b->n_pages = 0;
	while (b->pages_cap > keep)
		free(b->pages[--b->pages_cap]);
}

void batch_pool_free(struct batch_pool *pool)
{
	if (!pool)
		return;
	while (pool->free) {
		struct batch *b = pool->free;

		pool->free = b->next;
		free_events(b);
		trim_pages(b, 0);
		free(b->events);
		free(b->pages);
		free(b);
	}
	free(pool->waiters);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

struct batch *batch_take(
	struct batch_pool *pool, bool urgent, struct strand *strand, struct job *wait)
{
	struct batch *b = NULL;

	pthread_mutex_lock(&pool->lock);
	if (pool->n_free > (urgent ? 0 : pool->n / 4)) {
		b = pool->free;
		pool->free = b->next;
		pool->n_free--;
		atomic_store(&b->users, 2);
		b->last = false;
		b->fill = 0;
		b->next_event = 0;
	} else {
		pool->waiters =
			xgrow(pool->waiters, pool->n_waiters, &pool->cap, sizeof(*pool->waiters));
		pool->waiters[pool->n_waiters++] = (struct waiter){ strand, wait };
	}
	pthread_mutex_unlock(&pool->lock);
	return b;
}

/* Few readers wait at a time; all of them ask again. */
static void wake_locked(struct batch_pool *pool)
{
	size_t n = pool->n_waiters;

	pool->n_waiters = 0;
	for (size_t i = 0; i < n; i++)
		strand_post(pool->waiters[i].strand, pool->waiters[i].job);
}

void batch_pool_nudge(struct batch_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	wake_locked(pool);
	pthread_mutex_unlock(&pool->lock);
}

void batch_release(struct batch_pool *pool, struct batch *b)
{
	if (atomic_fetch_sub(&b->users, 1) > 1)
		return;
	free_events(b);
	trim_pages(b, PAGES_KEPT);
	pthread_mutex_lock(&pool->lock);
	b->next = pool->free;
	pool->free = b;
	pool->n_free++;
	wake_locked(pool);
	pthread_mutex_unlock(&pool->lock);
}

struct event *batch_add_event(struct batch *b, enum event_type type)
{
	b->events = xgrow(b->events, b->n_events, &b->events_cap, sizeof(*b->events));
	b->events[b->n_events].type = (uint8_t)type;
	return &b->events[b->n_events++];
}

/* pages_cap counts the pages that exist: they are used again with the batch. */
uint8_t *batch_add_page(struct batch *b)
{
	if (b->n_pages == b->pages_cap) {
		b->pages = xrealloc_array(b->pages, b->pages_cap + 1, sizeof(*b->pages));
		b->pages[b->pages_cap++] = xmalloc(DEDUPE_BLOCK);
	}
	return b->pages[b->n_pages++];
}

static size_t xattr_bytes(const struct entry *e)
{
	size_t n = e->n_xattrs * sizeof(*e->xattrs);

	for (size_t i = 0; i < e->n_xattrs; i++)
		n += strlen(e->xattrs[i].name) + 1 + e->xattrs[i].value_len;
	return n;
}

static void *put(uint8_t **at, const void *p, size_t len)
{
	void *here = *at;

	if (len)
		memcpy(here, p, len);
	*at += len;
	return here;
}

/* One allocation: first what needs alignment, then the strings. */
struct entry *entry_copy(const struct entry *e)
{
	size_t path = strlen(e->path) + 1, link = strlen(e->link) + 1;
	size_t regions = e->n_regions * sizeof(*e->regions);
	struct entry *copy = xmalloc(sizeof(*copy) + regions + xattr_bytes(e) + path + link);
	uint8_t *at = (uint8_t *)(copy + 1);
	struct entry_xattr *xattrs;

	*copy = *e;
	copy->regions = put(&at, e->regions, regions);
	xattrs = put(&at, e->xattrs, e->n_xattrs * sizeof(*xattrs));
	copy->xattrs = xattrs;
	for (size_t i = 0; i < e->n_xattrs; i++) {
		xattrs[i].name = put(&at, e->xattrs[i].name, strlen(e->xattrs[i].name) + 1);
		xattrs[i].value = put(&at, e->xattrs[i].value, e->xattrs[i].value_len);
	}
	copy->path = put(&at, e->path, path);
	copy->link = put(&at, e->link, link);
	return copy;
}
