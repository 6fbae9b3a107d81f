/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* One transfer as libcurl's handle sees it. Part of http.c. */
#ifndef REGISTRY_TRANSFER_H
#define REGISTRY_TRANSFER_H

#include <curl/curl.h>
#include <pthread.h>

#include "lib/registry/http.h"

struct transfer {
	const struct http_request *q;
	struct http_answer *a;
	CURL *easy;
	struct curl_slist *headers;
	char words[CURL_ERROR_SIZE]; /* libcurl's */

	/* the client thread's */
	size_t header_bytes;
	bool began, sunk; /* the sink has been asked; it wants the body */
	bool started; /* the request is on its way */
	bool paused;
	uint64_t began_at, active_at, paused_at; /* milliseconds */
	uint64_t body; /* bytes of it that have come */
	uint64_t watch_at, watch_body; /* since when, and from where, its rate is watched */
	uint64_t sent_at; /* the last of the body so far; 0: nothing was sent */
	enum http_end end; /* decided by us; HTTP_DONE: not yet */
	const char *why; /* a literal; or NULL: the answer stalled */
	struct transfer *next; /* of those that run, or wait to */

	bool done; /* under the client's lock */
	pthread_cond_t finished;
};

uint64_t monotonic_ms(void);

/* Make the handle ready. Cannot fail but for memory. */
void transfer_init(
	struct transfer *t, const struct http_request *q, struct http_answer *a, unsigned connect);

/* On the client thread, when it is over: make the answer of libcurl's code and ours. */
void transfer_settle(struct transfer *t, CURLcode code);

/* What is left once the answer has taken the handle. */
void transfer_free(struct transfer *t);

#endif
