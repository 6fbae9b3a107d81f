// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The client thread owns libcurl's multi handle and all transfers that run. Others hand it
 * transfers under the lock, or set flags and wake it; it never waits for a lock that is held for
 * long.
 */
#include "config.h"

#include "lib/registry/http.h"

#include <stdatomic.h>
#include <string.h>

#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/thread.h"
#include "lib/registry/transfer.h"
#include "lib/registry/url.h"

enum {
	HOST_CONNECTIONS = 6,
	TICK = 200, /* milliseconds until an interrupt is seen */
	IDLE = 60 * 1000,
	MOMENT = 1000,
	CRAWLS = 6, /* times limits.crawl, for the rest of a body */
	COMMIT_RATE = 4096, /* bytes in a millisecond, for the slowest of servers */
};

struct http {
	CURLM *multi;
	pthread_t thread;
	pthread_mutex_t lock;
	struct transfer *submitted; /* under the lock */
	bool stop; /* the same */
	struct transfer *running; /* the thread's */
};

/* The one client of the process. */
static struct {
	pthread_mutex_t lock;
	struct http *http;
	unsigned users;
	struct http_limits limits;
} shared = { .lock = PTHREAD_MUTEX_INITIALIZER };

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_library(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
	if (!shared.limits.connect)
		shared.limits = HTTP_LIMITS_DEFAULT;
}

void http_set_limits(const struct http_limits *limits)
{
	shared.limits = *limits;
}

static void finish(struct http *h, struct transfer *t, CURLcode code)
{
	curl_multi_remove_handle(h->multi, t->easy);
	for (struct transfer **p = &h->running; *p; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			break;
		}
	}
	transfer_settle(t, code);
	pthread_mutex_lock(&h->lock);
	t->done = true;
	pthread_cond_signal(&t->finished); /* under the lock: t may be gone right after it */
	pthread_mutex_unlock(&h->lock);
}

static void finish_as(struct http *h, struct transfer *t, enum http_end end, const char *why)
{
	if (t->end == HTTP_DONE) {
		t->end = end;
		t->why = why;
	}
	finish(h, t, CURLE_ABORTED_BY_CALLBACK);
}

/* false: the client is to stop. */
static bool adopt(struct http *h)
{
	struct transfer *list;
	bool stop;

	pthread_mutex_lock(&h->lock);
	list = h->submitted;
	h->submitted = NULL;
	stop = h->stop;
	pthread_mutex_unlock(&h->lock);
	while (list) {
		struct transfer *t = list;

		list = t->next;
		t->next = h->running;
		h->running = t;
		t->began_at = t->active_at = monotonic_ms();
		curl_multi_add_handle(h->multi, t->easy);
	}
	return !stop;
}

static void reap(struct http *h)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left))) {
		CURLcode code = m->data.result;
		struct transfer *t = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		finish(h, t, code);
	}
}

static bool waits_for_commit(const struct transfer *t)
{
	return t->q->body && t->q->body->at == t->q->body->size && !t->began;
}

/* Servers digest what they got; of a small body that is soon done. */
static uint64_t commit_limit(const struct transfer *t)
{
	uint64_t limit = shared.limits.stall + t->q->body->size / COMMIT_RATE;

	return limit < shared.limits.commit ? limit : shared.limits.commit;
}

/* Libcurl watches connecting; while a transfer waits for a connection to be free, nobody does. */
static bool stalled(const struct transfer *t, uint64_t now)
{
	uint64_t limit = waits_for_commit(t) ? commit_limit(t) : shared.limits.stall;

	if (t->q->patience && limit > t->q->patience)
		limit = t->q->patience;
	return t->started && !t->paused && now - t->active_at > limit;
}

/* Bytes that drip never stall; what is held in memory is small enough for a limit. */
static bool overdue(const struct transfer *t, uint64_t now)
{
	const struct http_body *body = t->q->body;
	uint64_t since = t->sent_at > t->began_at ? t->sent_at : t->began_at;
	uint64_t limit = shared.limits.document + (body ? commit_limit(t) : 0);

	return t->started && !t->sunk && (!body || body->at == body->size) && now - since > limit;
}

/*
 * Who crawls keeps everybody waiting who wants the same bytes. A new connection often does better,
 * and goes on where this one was; and before the first byte, a server may have to get it first.
 */
static bool crawls(struct transfer *t, uint64_t now)
{
	uint64_t got = t->body - t->watch_body, rest;
	bool crawls;

	if (!t->q->hurry || !t->body || t->paused || t->a->status != 206 ||
		now - t->watch_at < shared.limits.crawl)
		return false;
	rest = t->q->hurry > t->body ? t->q->hurry - t->body : 0;
	crawls = rest > got * CRAWLS;
	t->watch_at = now;
	t->watch_body = t->body;
	return crawls;
}

static void resume(struct http *h, struct transfer *t, uint64_t now)
{
	CURLcode code;

	if (now - t->paused_at > MOMENT)
		t->a->was_paused = true;
	t->paused = false;
	t->active_at = now;
	t->watch_at = now; /* nobody crawls who has to wait for us */
	t->watch_body = t->body;
	code = curl_easy_pause(t->easy, CURLPAUSE_CONT); /* may pause it again at once */
	if (code != CURLE_OK)
		finish(h, t, code); /* the sink refused what had been kept for it */
}

/* What others asked for, and what time brings. */
static void look_after(struct http *h, struct transfer *t, uint64_t now)
{
	struct http_control *c = t->q->control;

	if (interrupt_pending())
		finish_as(h, t, HTTP_INTERRUPTED, "interrupted");
	else if (c && c->cancel)
		finish_as(h, t, HTTP_CANCELLED, "cancelled");
	else if ((t->a->stalled = stalled(t, now)))
		finish_as(h, t, HTTP_BROKEN, NULL);
	else if ((t->a->crawled = crawls(t, now)))
		finish_as(h, t, HTTP_BROKEN, "the answer crawls");
	else if (overdue(t, now))
		finish_as(h, t, HTTP_BROKEN, "the answer takes too long");
	else if (t->paused && c && atomic_exchange(&c->resume, false))
		resume(h, t, now);
	else if (t->paused && now - t->paused_at > shared.limits.pause)
		finish_as(h, t, HTTP_PAUSED, "paused");
}

static void *run(void *arg)
{
	struct http *h = arg;

	while (adopt(h)) {
		uint64_t now;
		int n;

		curl_multi_perform(h->multi, &n);
		reap(h);
		now = monotonic_ms();
		for (struct transfer *t = h->running, *next; t; t = next) {
			next = t->next;
			look_after(h, t, now);
		}
		curl_multi_poll(h->multi, NULL, 0, h->running ? TICK : IDLE, NULL);
	}
	return NULL;
}

void http_wake(struct http *h)
{
	curl_multi_wakeup(h->multi);
}

static struct http *start(struct error **err)
{
	struct http *h = xzalloc(sizeof(*h));

	pthread_once(&once, init_library);
	pthread_mutex_init(&h->lock, NULL);
	h->multi = curl_multi_init();
	if (!h->multi)
		abort(); /* no memory */
	curl_multi_setopt(h->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)HOST_CONNECTIONS);
	curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	if (thread_start(&h->thread, run, h, err) < 0) {
		curl_multi_cleanup(h->multi);
		pthread_mutex_destroy(&h->lock);
		free(h);
		return NULL;
	}
	return h;
}

struct http *http_acquire(struct error **err)
{
	struct http *h;

	pthread_mutex_lock(&shared.lock);
	if (!shared.http)
		shared.http = start(err);
	h = shared.http;
	if (h)
		shared.users++;
	pthread_mutex_unlock(&shared.lock);
	return h;
}

void http_release(struct http *h)
{
	bool last;

	pthread_mutex_lock(&shared.lock);
	last = --shared.users == 0;
	if (last)
		shared.http = NULL;
	pthread_mutex_unlock(&shared.lock);
	if (!last)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_mutex_unlock(&h->lock);
	http_wake(h);
	pthread_join(h->thread, NULL);
	curl_multi_cleanup(h->multi);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static void say(const struct http_request *q, const struct http_answer *a, uint64_t ms)
{
	CLEANUP_FREE char *url = NULL;

	if (!log_enabled(LOG_DEBUG))
		return;
	url = url_shown(q->url);
	if (a->end == HTTP_DONE || a->end == HTTP_STOPPED)
		log_debug("%s %s: %ld, %llu ms", q->method, url, a->status, (unsigned long long)ms);
	else
		log_debug("%s %s: %s, %llu ms", q->method, url, a->why, (unsigned long long)ms);
}

void http_perform(struct http *h, const struct http_request *q, struct http_answer *a)
{
	uint64_t began = monotonic_ms();
	struct transfer t;

	transfer_init(&t, q, a, shared.limits.connect);
	pthread_mutex_lock(&h->lock);
	t.next = h->submitted;
	h->submitted = &t;
	http_wake(h);
	while (!t.done)
		pthread_cond_wait(&t.finished, &h->lock);
	pthread_mutex_unlock(&h->lock);
	transfer_free(&t);
	say(q, a, monotonic_ms() - began);
}

const char *http_header(const struct http_answer *a, const char *name, size_t n)
{
	struct curl_header *h;

	if (!a->easy || curl_easy_header(a->easy, name, n, CURLH_HEADER, -1, &h) != CURLHE_OK)
		return NULL;
	return h->value;
}

void http_answer_free(struct http_answer *a)
{
	free(a->why);
	free(a->body);
	if (a->easy)
		curl_easy_cleanup(a->easy);
	*a = (struct http_answer){ 0 };
}
