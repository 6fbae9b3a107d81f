// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/blob_ways.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include "lib/base/mem.h"

enum { CANCEL_MS = 100 }; /* between two times that a way's readers are cancelled */

static struct blob_ways *ways_of(struct blob_source *s)
{
	return (struct blob_ways *)((char *)s - offsetof(struct blob_ways, source));
}

/* From the one that worked last on, in two rounds. */
static struct way *nth_way(struct blob_ways *w, size_t i)
{
	for (int last = 0; last < 2; last++)
		for (size_t k = 0; k < w->n; k++) {
			struct way *way = &w->ways[(w->first + k) % w->n];

			if (way->source->last == last && !way->leaving && i-- == 0)
				return way;
		}
	return NULL;
}

/* Where somebody is in the order, and of which order. */
struct turn {
	size_t i;
	unsigned epoch;
};

/* The next to be tried; NULL after the last. It is held until way_end(). */
static struct blob_source *way_begin(struct blob_ways *w, struct turn *t)
{
	struct blob_source *source = NULL;
	struct way *way;

	pthread_mutex_lock(&w->mutex);
	if (t->epoch != w->epoch) /* one has gone: from the beginning */
		*t = (struct turn){ .epoch = w->epoch };
	way = nth_way(w, t->i++);
	if (way) {
		source = way->source;
		way->readers++;
	}
	pthread_mutex_unlock(&w->mutex);
	return source;
}

static struct way *find_way(struct blob_ways *w, const struct blob_source *source)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->ways[i].source == source)
			return &w->ways[i];
	return NULL;
}

static void way_end(struct blob_ways *w, const struct blob_source *source, bool worked)
{
	struct way *way;

	pthread_mutex_lock(&w->mutex);
	way = find_way(w, source);
	way->readers--;
	if (worked)
		w->first = (size_t)(way - w->ways);
	pthread_cond_broadcast(&w->idle);
	pthread_mutex_unlock(&w->mutex);
}

/* Through which one the last read on this thread went. */
static _Thread_local struct blob_source *last_way;

static int read_any(struct blob_source *s, const struct digest *blob, uint64_t offset, void *buf,
	size_t len, struct error **err)
{
	struct blob_ways *w = ways_of(s);
	unsigned cancelled = atomic_load(&w->cancelled);
	struct turn turn = { .epoch = w->epoch };
	struct blob_source *source;
	bool again = false, later = false;
	int rc = -1;

	for (; rc < 0 && (source = way_begin(w, &turn)); again = true) {
		if (again)
			error_free(take_ptr(*err));
		rc = source->read(source, blob, offset, buf, len, err);
		last_way = source;
		way_end(w, source, rc >= 0);
		if (rc == 0 && again)
			rc = 1;
		later |= rc < 0 && (*err)->code == EAGAIN;
		if (atomic_load(&w->cancelled) != cancelled) /* else one image goes, others stay */
			break;
	}
	if (rc < 0 && !*err)
		error_set(err, ECANCELED, "nobody wants it any more");
	if (rc < 0 && later && (*err)->code != ECANCELED)
		(*err)->code = EAGAIN; /* whoever refuses it: somebody may give it yet */
	return rc;
}

/* Of whoever is asked first. */
static int stream_first(struct blob_source *s, const struct digest *blob, uint64_t offset,
	uint64_t len, const struct stream_user *user, struct error **err)
{
	struct blob_ways *w = ways_of(s);
	struct turn turn = { .epoch = w->epoch };
	struct blob_source *source = way_begin(w, &turn);
	int rc;

	if (!source)
		return error_set(err, ECANCELED, "nobody wants it any more");
	last_way = source;
	rc = source_stream(source, blob, offset, len, user, err);
	way_end(w, source, false); /* it may have been blamed */
	return rc;
}

static void blame_last(struct blob_source *s)
{
	struct blob_ways *w = ways_of(s);
	struct way *way;

	pthread_mutex_lock(&w->mutex);
	way = find_way(w, last_way);
	if (way && way->source->blame)
		way->source->blame(way->source);
	if (way && w->n > 1)
		w->first = ((size_t)(way - w->ways) + 1) % w->n;
	pthread_mutex_unlock(&w->mutex);
}

static void cancel(struct blob_ways *w, struct blob_source *source)
{
	if (source->cancel)
		source->cancel(source, &w->digest);
}

static void cancel_all(struct blob_source *s, const struct digest *blob)
{
	struct blob_ways *w = ways_of(s);

	(void)blob;
	atomic_fetch_add(&w->cancelled, 1);
	pthread_mutex_lock(&w->mutex);
	for (size_t i = 0; i < w->n; i++)
		cancel(w, w->ways[i].source);
	pthread_mutex_unlock(&w->mutex);
}

void blob_ways_init(struct blob_ways *w, const struct digest *digest)
{
	*w = (struct blob_ways){
		.source = { .read = read_any,
			.stream = stream_first,
			.blame = blame_last,
			.cancel = cancel_all },
		.digest = *digest,
	};
	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->idle, NULL);
}

void blob_ways_end(struct blob_ways *w)
{
	pthread_mutex_destroy(&w->mutex);
	pthread_cond_destroy(&w->idle);
	free(w->ways);
}

void blob_ways_add(struct blob_ways *w, struct blob_source *source)
{
	struct way *way;

	pthread_mutex_lock(&w->mutex);
	way = find_way(w, source);
	if (way) {
		way->users++;
	} else {
		w->ways = xgrow(w->ways, w->n, &w->cap, sizeof(*w->ways));
		w->ways[w->n++] = (struct way){ .source = source, .users = 1 };
		if (w->n == 1) {
			w->source.gap = source->gap;
			w->source.place = source->place;
		}
	}
	pthread_mutex_unlock(&w->mutex);
}

/* Again and again: who holds it may be about to begin. */
static void wait_for_readers(struct blob_ways *w, struct blob_source *source)
{
	struct way *way;

	while ((way = find_way(w, source)) && way->readers) {
		struct timespec until;

		cancel(w, source);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += CANCEL_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&w->idle, &w->mutex, &until);
	}
}

void blob_ways_remove(struct blob_ways *w, struct blob_source *source)
{
	struct way *way;

	pthread_mutex_lock(&w->mutex);
	way = find_way(w, source);
	if (way && --way->users == 0) {
		way->leaving = true;
		w->epoch++;
		wait_for_readers(w, source);
		*find_way(w, source) = w->ways[w->n - 1];
		w->n--;
		w->first = 0;
		w->epoch++;
	}
	pthread_mutex_unlock(&w->mutex);
}
