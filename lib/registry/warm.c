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
	_Atomic bool ready;
};

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
	w->ready = a.end == HTTP_DONE;
	return NULL;
}

void registry_warm(struct registry *r)
{
	CLEANUP_ERROR struct error *ignored = NULL; /* it is only for speed */
	struct warm *w = xzalloc(sizeof(*w));

	w->r = r;
	if (thread_start(&w->thread, greet, w, &ignored) == 0)
		r->warm = w;
	else
		free(w);
}

/*
 * With TLS the first connection may speak HTTP/2, which blobs do not: then both go over the second,
 * one after the other, which still spares a handshake.
 */
bool registry_is_warm(const struct registry *r)
{
	return r->warm && r->warm->ready && r->o.plain_http;
}

void warm_end(struct registry *r)
{
	struct warm *w = r->warm;

	if (!w)
		return;
	w->control.cancel = true;
	http_wake(r->http);
	pthread_join(w->thread, NULL);
	free(w);
	r->warm = NULL;
}
