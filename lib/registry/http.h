/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * One HTTP request and its answer, on libcurl. One thread of the process drives all transfers;
 * whoever asks waits for its own. Redirects, credentials and repeated tries are the callers'.
 */
#ifndef REGISTRY_HTTP_H
#define REGISTRY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/registry/tls.h"

/* The client, shared by all who acquire it; its thread ends with the last release. */
struct http;
struct http *http_acquire(struct error **err);
void http_release(struct http *h);

/* How a transfer ended. */
enum http_end {
	HTTP_DONE, /* an answer with a status */
	HTTP_BROKEN, /* the connection, or it stalled: worth another try */
	HTTP_REFUSED, /* nobody listens */
	HTTP_UNRESOLVED, /* no address for the host */
	HTTP_NO_TLS, /* what listens there does not speak TLS */
	HTTP_TLS_BROKEN, /* the connection broke within the handshake */
	HTTP_UNTRUSTED, /* the server's certificate */
	HTTP_BAD, /* an answer that another try would not make better */
	HTTP_STOPPED, /* by the sink, which has what it wants */
	HTTP_PAUSED, /* was paused for long, and gives its connection to others */
	HTTP_CANCELLED, /* by its control */
	HTTP_INTERRUPTED, /* by the user */
};

struct http_answer {
	enum http_end end;
	char *why; /* in printable words, unless DONE or STOPPED */
	long status;
	char *body; /* what the sink did not want; a NUL is behind it */
	size_t size;
	int64_t length; /* as Content-Length states it, or -1 */
	int64_t retry_after; /* seconds, or -1 */
	bool was_paused; /* for longer than a moment */
	bool crawled; /* HTTP_BROKEN by that, ... */
	bool stalled; /* ... or because no byte came, or nobody was there in time */
	uint64_t silent; /* milliseconds since the last byte, when it ended */
	void *easy; /* libcurl's handle, which has the headers */
};

/* The value of the n-th header of this name, or NULL. Lives as long as the answer. */
const char *http_header(const struct http_answer *a, const char *name, size_t n);
void http_answer_free(struct http_answer *a);
#define CLEANUP_HTTP_ANSWER CLEANUP(http_answer_free)

enum http_taken { HTTP_TAKE, HTTP_PAUSE, HTTP_STOP, HTTP_REFUSE };

/* Where an answer's body goes, other than into memory. Called on the client's thread. */
struct http_sink {
	/* Does it want this answer? Called once, before any byte; status and headers are there. */
	bool (*begin)(void *arg, const struct http_answer *a);
	/* All of the bytes, or none: HTTP_PAUSE, and they come again after control.resume;
	 * HTTP_REFUSE: the answer is HTTP_BAD, for the reason in *why (a literal). */
	enum http_taken (*data)(void *arg, const void *p, size_t n, const char **why);
	void *arg;
};

/* Set by any thread; http_wake() makes it quick. */
struct http_control {
	_Atomic bool cancel, resume;
};
void http_wake(struct http *h);

/* What is sent: bytes, or with bytes NULL a file's. Reset for each request that uses it. */
struct http_body {
	const void *bytes;
	int fd;
	uint64_t offset, size;
	uint64_t at; /* sent so far */
	_Atomic uint64_t *sent; /* counts along, back too; or NULL */
};

struct http_request {
	const char *method;
	const char *url; /* http or https, checked: lib/registry/url.h */
	char *const *headers; /* "Name: value", ends with NULL */
	const struct tls *tls;
	bool client_cert; /* show ours, if the server asks */
	/* HTTP/1.1 on a connection of its own, for long bodies: a reader that pauses must not hold
	 * up others, and each has TCP's whole window */
	bool own_connection;
	struct http_body *body; /* or NULL */
	size_t answer_max; /* of a body in memory */
	/* Somebody waits for this many bytes: a 206 that crawls (http_limits) is HTTP_BROKEN. 0: it
	 * may take its time. */
	uint64_t hurry;
	/* Milliseconds until it is connected, and then without a byte, if that is less than what
	 * http_limits say; 0: they say. */
	unsigned patience;
	const struct http_sink *sink; /* or NULL */
	struct http_control *control; /* or NULL */
};

/* Send it and wait. Always fills the answer. */
void http_perform(struct http *h, const struct http_request *q, struct http_answer *a);

/* In milliseconds. For tests; before a transfer begins. */
struct http_limits {
	unsigned connect; /* until the connection is up, with its TLS */
	unsigned stall; /* without a byte */
	unsigned commit; /* the same, once all of a body has been sent: servers digest it */
	unsigned document; /* for all of an answer that is held in memory */
	unsigned pause; /* until a paused transfer gives up its connection */
	/* For so long a rate is watched, from the first byte on and again and again: a body crawls
	 * when at that rate the rest of it would take more than six times as long. */
	unsigned crawl;
};
#define HTTP_LIMITS_DEFAULT \
	((struct http_limits){ 30 * 1000, 60 * 1000, 600 * 1000, 300 * 1000, 20 * 1000, 10 * 1000 })
void http_set_limits(const struct http_limits *limits);

#endif
