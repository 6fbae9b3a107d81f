// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A second connection, made while the first one's first answer is on its way: then two things can
 * be asked for at once without a handshake's round trips. The question is the one that any registry
 * answers at once, whoever asks.
 */
#include "config.h"

#include "lib/base/mem.h"
#include "lib/base/thread.h"
#include "lib/registry/part.h"

struct warm {
	struct registry *r;
	pthread_t thread;
	struct http_control control;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	bool ready;
	bool given_up; /* by who waited for it */
};

static void tell(struct warm *w, bool *what)
{
	pthread_mutex_lock(&w->lock);
	*what = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

static void warm_free(struct warm *w)
{
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->changed);
	free(w);
}

static void *greet(void *arg)
{
	struct warm *w = arg;
	CLEANUP_FREE char *url =
		xasprintf("%s://%s/v2/", w->r->o.plain_http ? "http" : "https", w->r->asked);
	CLEANUP_HTTP_ANSWER struct http_answer a = { 0 };
	char *none[] = { NULL };
	const struct http_request q = {
		.method = "GET",
		.url = url,
		.headers = none,
		.tls = w->r->tls,
		.client_cert = true,
		.own_connection = true, /* as blobs have */
		.answer_max = ANSWER_MAX,
		.control = &w->control,
	};

	http_perform(w->r->http, &q, &a);
	if (a.end == HTTP_DONE)
		tell(w, &w->ready);
	return NULL;
}

void registry_warm(struct registry *r)
{
	CLEANUP_ERROR struct error *ignored = NULL; /* it is only for speed */
	struct warm *w = xzalloc(sizeof(*w));

	w->r = r;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	if (thread_start(&w->thread, greet, w, &ignored) == 0)
		r->warm = w;
	else
		warm_free(w);
}

/*
 * With TLS the first connection may speak HTTP/2, which blobs do not: then both go over the second,
 * one after the other, which still spares a handshake.
 */
bool registry_warms(const struct registry *r)
{
	return r->warm && r->o.plain_http;
}

void registry_await_warm(struct registry *r)
{
	struct warm *w = r->warm;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	while (!w->ready && !w->given_up)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void registry_await_no_more(struct registry *r)
{
	if (r->warm)
		tell(r->warm, &r->warm->given_up);
}

void warm_end(struct registry *r)
{
	struct warm *w = r->warm;

	if (!w)
		return;
	w->control.cancel = true;
	http_wake(r->http);
	pthread_join(w->thread, NULL);
	warm_free(w);
	r->warm = NULL;
}
