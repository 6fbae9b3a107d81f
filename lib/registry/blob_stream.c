// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A blob's bytes on their way through a ring: the client's thread fills it, the reader drains it.
 * A full ring pauses the transfer, so TCP holds the server back; at half it goes on. A thread of
 * the stream's own sees to tries, logging in and redirects; it sleeps nearly always.
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/base/thread.h"
#include "lib/registry/fetch.h"

enum {
	AHEAD = 2 * 1024 * 1024,
	AHEAD_MIN = 64 * 1024, /* libcurl hands over up to 16 KiB at once */
	AHEAD_MAX = 1024 * 1024 * 1024,
	WORTH_WAKING = 128 * 1024,
};

struct blob_stream {
	struct stream stream;
	struct digest digest;
	uint64_t len, taken; /* by the reader */
	struct http *http;
	struct reading reading; /* given up with the registry, and by close() */
	struct fetch fetch;
	pthread_t thread;

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	char *ring;
	size_t cap, head, held;
	size_t wanted; /* the reader sleeps until there is so much */
	bool full; /* the transfer is paused, or about to be */
	bool done;
	struct error *error;
	void (*wake)(void *arg);
	void *wake_arg;
};

/* Is there enough for a reader to be woken? */
static bool has(const struct blob_stream *b, size_t n)
{
	return b->done || b->full || b->held >= n || (b->held && b->held == b->len - b->taken);
}

static bool is_ready(const struct blob_stream *b)
{
	return has(b, WORTH_WAKING);
}

/* Whoever waits to be told is called without the lock: it may do as it likes, and close() waits
 * for the threads that come here. */
static void unlock_and_wake(struct blob_stream *b)
{
	void (*wake)(void *) = is_ready(b) ? b->wake : NULL;
	void *arg = b->wake_arg;

	if (wake)
		b->wake = NULL;
	if (b->wanted && has(b, b->wanted))
		pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
	if (wake)
		wake(arg);
}

static void ring_put(struct blob_stream *b, const void *p, size_t n)
{
	size_t tail = (b->head + b->held) % b->cap;
	size_t first = n < b->cap - tail ? n : b->cap - tail;

	memcpy(b->ring + tail, p, first);
	memcpy(b->ring, (const char *)p + first, n - first);
	b->held += n;
}

static size_t ring_get(struct blob_stream *b, void *buf, size_t len)
{
	size_t n = len < b->held ? len : b->held;
	size_t first = n < b->cap - b->head ? n : b->cap - b->head;

	memcpy(buf, b->ring + b->head, first);
	memcpy((char *)buf + first, b->ring, n - first);
	b->head = (b->head + n) % b->cap;
	b->held -= n;
	return n;
}

static bool take(void *arg, const void *p, size_t n)
{
	struct blob_stream *b = arg;
	bool fits;

	pthread_mutex_lock(&b->lock);
	fits = n <= b->cap - b->held;
	if (fits)
		ring_put(b, p, n);
	else
		b->full = true;
	unlock_and_wake(b);
	return fits;
}

/* An interrupt comes without a signal of the condition. */
static void wait_a_moment(struct blob_stream *b)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += 200 * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&b->changed, &b->lock, &t);
}

static bool wait_for_room(void *arg)
{
	struct blob_stream *b = arg;
	bool go_on;

	pthread_mutex_lock(&b->lock);
	while (b->full && !b->reading.control.cancel && !interrupt_pending())
		wait_a_moment(b);
	go_on = !b->full;
	pthread_mutex_unlock(&b->lock);
	b->reading.control.resume = false; /* of the transfer that is gone */
	return go_on;
}

static void *run(void *arg)
{
	struct blob_stream *b = arg;
	struct error *e = NULL;

	reading_begin(b->fetch.r, &b->reading);
	registry_fetch_run(&b->fetch, &e);
	reading_end(b->fetch.r, &b->reading);
	if (e && interrupt_pending()) {
		error_free(take_ptr(e));
		error_set(&e, 0, "interrupted");
	} else if (e && b->reading.control.cancel) {
		error_free(take_ptr(e));
		error_set(&e, ECANCELED, "cancelled");
	}
	pthread_mutex_lock(&b->lock);
	b->error = e;
	b->done = true;
	unlock_and_wake(b);
	return NULL;
}

/* Each reading after the end says the same. */
static int end_of(struct blob_stream *b, struct error **err)
{
	if (!b->error)
		return 0;
	error_set(err, 0, "%s", b->error->msg);
	(*err)->code = b->error->code;
	if (b->error->hint)
		error_hint(err, "%s", b->error->hint);
	return -1;
}

static ssize_t blob_read(struct stream *s, void *buf, size_t len, struct error **err)
{
	struct blob_stream *b = (struct blob_stream *)s;
	bool go_on;
	size_t n;

	pthread_mutex_lock(&b->lock);
	b->wanted = len < WORTH_WAKING ? len : WORTH_WAKING;
	while (!has(b, b->wanted))
		pthread_cond_wait(&b->changed, &b->lock);
	b->wanted = 0;
	if (!b->held) {
		int rc = end_of(b, err);

		pthread_mutex_unlock(&b->lock);
		return rc;
	}
	n = ring_get(b, buf, len);
	b->taken += n;
	go_on = b->full && b->held <= b->cap / 2;
	if (go_on) {
		b->full = false;
		b->reading.control.resume = true;
		pthread_cond_broadcast(&b->changed);
	}
	pthread_mutex_unlock(&b->lock);
	if (go_on)
		http_wake(b->http);
	return (ssize_t)n;
}

static bool blob_ready(struct stream *s, void (*wake)(void *arg), void *arg)
{
	struct blob_stream *b = (struct blob_stream *)s;
	bool ready;

	pthread_mutex_lock(&b->lock);
	ready = is_ready(b);
	b->wake = ready ? NULL : wake;
	b->wake_arg = arg;
	pthread_mutex_unlock(&b->lock);
	return ready;
}

static void blob_free(struct blob_stream *b)
{
	pthread_cond_destroy(&b->changed);
	pthread_mutex_destroy(&b->lock);
	error_free(b->error);
	free(b->ring);
	free(b);
}

static void blob_close(struct stream *s)
{
	struct blob_stream *b = (struct blob_stream *)s;

	b->reading.control.cancel = true;
	http_wake(b->http);
	pthread_join(b->thread, NULL);
	blob_free(b);
}

static size_t ring_size(uint64_t size, size_t ahead)
{
	uint64_t n = ahead ? ahead : AHEAD;

	n = n < AHEAD_MIN ? AHEAD_MIN : n > AHEAD_MAX ? AHEAD_MAX : n;
	return (size_t)(size < n ? size + 1 : n);
}

/* `what` has the range and how it is asked for. */
static struct stream *open_stream(
	const struct fetch *what, const struct digest *digest, size_t ahead, struct error **err)
{
	struct blob_stream *b = xzalloc(sizeof(*b));

	b->stream = (struct stream){ blob_read, blob_close, blob_ready };
	b->digest = *digest;
	b->len = what->end - what->at;
	b->http = what->r->http;
	b->cap = ring_size(b->len, ahead);
	b->ring = xmalloc(b->cap);
	b->fetch = *what;
	b->fetch.digest = &b->digest;
	b->fetch.take = take;
	b->fetch.wait_for_room = wait_for_room;
	b->fetch.arg = b;
	b->fetch.control = &b->reading.control;
	if (what->hurry)
		b->reading.digest = &b->digest;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->changed, NULL);
	if (thread_start(&b->thread, run, b, err) == 0)
		return &b->stream;
	blob_free(b);
	return NULL;
}

struct stream *registry_open_blob(struct registry *r, const struct digest *digest, uint64_t size,
	size_t ahead, struct error **err)
{
	const struct fetch all = { .r = r, .end = size, .size = size };

	return open_stream(&all, digest, ahead, err);
}

struct stream *registry_open_range(struct registry *r, const struct digest *digest, uint64_t offset,
	uint64_t len, size_t ahead, struct error **err)
{
	struct fetch part = { .r = r, .at = offset, .size = FETCH_SIZE_UNKNOWN, .hurry = true };

	if (check_range(offset, len, err) < 0)
		return NULL;
	part.end = offset + len;
	return open_stream(&part, digest, ahead, err);
}
