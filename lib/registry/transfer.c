// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/registry/url.h"

enum {
	HEADERS_MAX = 256 * 1024, /* of one answer, interim ones included */
	SEND_BUFFER = 256 * 1024,
	RECEIVE_BUFFER = 128 * 1024,
	MOMENT = 1000, /* a pause that servers do not mind, in milliseconds */
};

uint64_t monotonic_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void decide(struct transfer *t, enum http_end end, const char *why)
{
	if (t->end == HTTP_DONE) {
		t->end = end;
		t->why = why;
	}
}

static const char too_large[] = "the answer is larger than what is accepted of its kind";

/* A Content-Length that no body of its kind may have: then none is waited for. */
static bool states_too_much(const struct transfer *t, const char *line, size_t n)
{
	static const char name[] = "Content-Length:";
	char value[32] = "";
	long status = 0;

	if (t->q->sink || strcmp(t->q->method, "HEAD") == 0 || n < sizeof(name) ||
		strncasecmp(line, name, sizeof(name) - 1) != 0)
		return false;
	n -= sizeof(name) - 1;
	memcpy(value, line + sizeof(name) - 1, n < sizeof(value) ? n : sizeof(value) - 1);
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return status / 100 == 2 && strtoull(value, NULL, 10) > t->q->answer_max;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	t->active_at = monotonic_ms();
	t->header_bytes += size * n;
	if (t->header_bytes > HEADERS_MAX)
		decide(t, HTTP_BAD, "the answer's headers are larger than 256 KiB");
	else if (states_too_much(t, p, size * n))
		decide(t, HTTP_BAD, too_large);
	else
		return size * n;
	return 0;
}

static int on_start(void *arg, char *peer, char *local, int peer_port, int local_port)
{
	struct transfer *t = arg;

	(void)peer, (void)local, (void)peer_port, (void)local_port;
	t->started = true;
	t->began_at = t->active_at = monotonic_ms();
	return CURL_PREREQFUNC_OK;
}

static void read_facts(struct transfer *t)
{
	curl_off_t v;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->a->status);
	if (curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &v) == CURLE_OK)
		t->a->length = v;
	/* libcurl knows seconds and dates; 0 is none */
	if (curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &v) == CURLE_OK && v > 0)
		t->a->retry_after = v;
}

static void begin(struct transfer *t)
{
	if (t->began)
		return;
	t->began = true;
	read_facts(t);
	t->sunk = t->q->sink && t->q->sink->begin(t->q->sink->arg, t->a);
}

/* An error's text may be cut, a document not. */
static size_t collect(struct transfer *t, const void *p, size_t n)
{
	struct http_answer *a = t->a;
	bool stated = a->status < 300 && a->length > 0 && (uint64_t)a->length > t->q->answer_max;

	if (stated || n > t->q->answer_max - a->size) {
		if (a->status >= 300)
			decide(t, HTTP_STOPPED, NULL);
		else
			decide(t, HTTP_BAD, too_large);
		return 0;
	}
	a->body = xrealloc_array(a->body, a->size + n + 1, 1);
	memcpy(a->body + a->size, p, n);
	a->size += n;
	a->body[a->size] = '\0';
	return n;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	const char *why = NULL;

	begin(t);
	t->active_at = monotonic_ms();
	if (!t->body)
		t->watch_at = t->active_at;
	t->body += size * n;
	if (!t->sunk)
		return collect(t, p, size * n);
	switch (t->q->sink->data(t->q->sink->arg, p, size * n, &why)) {
	case HTTP_TAKE:
		return size * n;
	case HTTP_PAUSE:
		t->body -= size * n; /* they come again */
		t->paused = true;
		t->paused_at = t->active_at;
		return CURL_WRITEFUNC_PAUSE;
	case HTTP_STOP:
		decide(t, HTTP_STOPPED, NULL);
		return 0;
	default:
		decide(t, HTTP_BAD, why);
		return 0;
	}
}

static void body_move(struct http_body *b, uint64_t at)
{
	if (b->sent)
		*b->sent += at - b->at; /* wraps, on purpose, when it goes back */
	b->at = at;
}

static size_t on_send(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct http_body *b = t->q->body;
	uint64_t left = b->size - b->at;
	ssize_t got;

	t->active_at = monotonic_ms();
	n *= size;
	if (n > left)
		n = (size_t)left;
	if (b->bytes) {
		memcpy(p, (const char *)b->bytes + b->at, n);
		got = (ssize_t)n;
	} else {
		do
			got = pread(b->fd, p, n, (off_t)(b->offset + b->at));
		while (got < 0 && errno == EINTR);
	}
	if (got < 0 || (got == 0 && n)) {
		decide(t, HTTP_BAD,
			got < 0 ? "cannot read the file that is sent"
				: "the file that is sent has become shorter");
		return CURL_READFUNC_ABORT;
	}
	body_move(b, b->at + (uint64_t)got);
	t->sent_at = t->active_at;
	return (size_t)got;
}

/*
 * When a connection that was kept open proves dead, libcurl sends the request again on a new one.
 * With a part of a file that must not be: the server may have taken some of it, and would append
 * the rest.
 */
static int on_seek(void *arg, curl_off_t offset, int whence)
{
	struct http_body *b = ((struct transfer *)arg)->q->body;

	if (whence != SEEK_SET || offset < 0 || (uint64_t)offset > b->size)
		return CURL_SEEKFUNC_FAIL;
	if (!b->bytes && (uint64_t)offset < b->at)
		return CURL_SEEKFUNC_FAIL;
	body_move(b, (uint64_t)offset);
	return CURL_SEEKFUNC_OK;
}

static void set_body(struct transfer *t)
{
	struct http_body *b = t->q->body;
	bool post = strcmp(t->q->method, "POST") == 0;

	if (!b) {
		if (post)
			curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, "");
		return;
	}
	body_move(b, 0);
	curl_easy_setopt(t->easy, post ? CURLOPT_POST : CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(t->easy, post ? CURLOPT_POSTFIELDSIZE_LARGE : CURLOPT_INFILESIZE_LARGE,
		(curl_off_t)b->size);
	curl_easy_setopt(t->easy, CURLOPT_READFUNCTION, on_send);
	curl_easy_setopt(t->easy, CURLOPT_READDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(t->easy, CURLOPT_SEEKDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BUFFER);
}

/* Servers that do not know "Expect: 100-continue" would cost a second each. */
static void set_headers(struct transfer *t)
{
	t->headers = curl_slist_append(NULL, "Expect:");
	for (char *const *h = t->q->headers; h && *h; h++)
		t->headers = curl_slist_append(t->headers, *h);
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(t->easy, CURLOPT_USERAGENT, "erofs-convert/" PACKAGE_VERSION);
}

static void set_connection(struct transfer *t, unsigned connect)
{
	unsigned patience = t->q->patience;
	CURL *e = t->easy;

	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION,
		t->q->own_connection ? (long)CURL_HTTP_VERSION_1_1 : (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
		(long)(patience && patience < connect ? patience : connect));
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->words);
	curl_easy_setopt(e, CURLOPT_PRIVATE, t);
	if (url_is_loopback(t->q->url))
		curl_easy_setopt(e, CURLOPT_NOPROXY, "*"); /* as Go's tools do */
	if (t->q->tls)
		tls_apply(t->q->tls, e, t->q->client_cert);
}

void transfer_init(
	struct transfer *t, const struct http_request *q, struct http_answer *a, unsigned connect)
{
	*a = (struct http_answer){ .length = -1, .retry_after = -1 };
	*t = (struct transfer){ .q = q, .a = a, .easy = curl_easy_init() };
	if (!t->easy)
		abort(); /* no memory */
	a->easy = t->easy;
	pthread_cond_init(&t->finished, NULL);
	t->began_at = t->active_at = monotonic_ms();
	set_connection(t, connect);
	curl_easy_setopt(t->easy, CURLOPT_URL, q->url);
	if (strcmp(q->method, "HEAD") == 0)
		curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
	set_body(t);
	if (strcmp(q->method, "GET") != 0 && strcmp(q->method, "HEAD") != 0)
		curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, q->method);
	set_headers(t);
	curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_PREREQFUNCTION, on_start);
	curl_easy_setopt(t->easy, CURLOPT_PREREQDATA, t);
}

/*
 * libcurl has one code for all that goes wrong in a TLS handshake; OpenSSL's words, which are
 * in its message, tell a server without TLS ("wrong version number" and its like), one that
 * refuses us (an alert), and a connection that broke.
 */
static enum http_end tls_end(const char *words)
{
	static const char *const plain[] = { "wrong version number", "unknown protocol",
		"http request", "packet length too long", "record layer failure" };

	for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++)
		if (strcasestr(words, plain[i]))
			return HTTP_NO_TLS;
	return strcasestr(words, "alert") ? HTTP_BAD : HTTP_TLS_BROKEN;
}

/*
 * Within TLS 1.3 a server refuses our certificate, or the lack of one, after the handshake; and a
 * proxy that does not let us through says so before it.
 */
static enum http_end broken_end(const char *words)
{
	static const char *const final[] = { "alert certificate", "alert bad certificate",
		"alert unknown ca", "alert access denied", "CONNECT tunnel failed, response 4" };

	for (size_t i = 0; i < sizeof(final) / sizeof(*final); i++)
		if (strcasestr(words, final[i]))
			return HTTP_BAD;
	return HTTP_BROKEN;
}

static enum http_end curl_end(CURLcode code, const char *words)
{
	switch (code) {
	case CURLE_OK:
		return HTTP_DONE;
	case CURLE_COULDNT_CONNECT:
		return HTTP_REFUSED;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return HTTP_UNRESOLVED;
	case CURLE_SSL_CONNECT_ERROR:
		return tls_end(words);
	case CURLE_PEER_FAILED_VERIFICATION:
		return HTTP_UNTRUSTED;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
		return broken_end(words);
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_SEND_FAIL_REWIND:
		return HTTP_BROKEN;
	default:
		return HTTP_BAD;
	}
}

static char *in_words(const struct transfer *t, CURLcode code)
{
	const char *words = t->why ? t->why : *t->words ? t->words : curl_easy_strerror(code);

	if (!t->why && t->a->stalled && t->started)
		return xasprintf("no byte came for %" PRIu64 " s", t->a->silent / 1000);
	if (!t->why && code == CURLE_OUT_OF_MEMORY)
		words = "a header of the answer is too long"; /* what libcurl means by it */
	if (!t->why && strstr(words, "nsupported proxy")) /* the address has a password */
		words = "the environment names a proxy by an address that cannot be used";
	return text_printable(words, strnlen(words, sizeof(t->words)));
}

void transfer_settle(struct transfer *t, CURLcode code)
{
	struct http_answer *a = t->a;

	a->silent = monotonic_ms() - t->active_at;
	if (code == CURLE_OPERATION_TIMEDOUT && !t->started) /* it could not be reached in time */
		a->stalled = true;
	if (code == CURLE_OK || t->began)
		begin(t); /* an answer without a body, too */
	a->end = t->end != HTTP_DONE ? t->end : curl_end(code, t->words);
	/* of an error the status says most, and the connection's fate no more */
	if (t->began && !t->sunk && a->status >= 400 &&
		(a->end == HTTP_BROKEN || a->end == HTTP_STOPPED))
		a->end = HTTP_DONE;
	if (a->end == HTTP_DONE && a->status == 0)
		a->end = HTTP_BAD;
	if (a->end != HTTP_DONE && a->end != HTTP_STOPPED)
		a->why = in_words(t, code);
	if (t->paused && monotonic_ms() - t->paused_at > MOMENT)
		a->was_paused = true;
}

void transfer_free(struct transfer *t)
{
	curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, NULL);
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(t->headers);
	pthread_cond_destroy(&t->finished);
}
