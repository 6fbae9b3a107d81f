// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* From a request to its answer: scheme, Authorization, redirects; and trying again. */
#include "config.h"

#include <stdatomic.h>
#include <string.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/registry/part.h"
#include "lib/registry/retry.h"
#include "lib/registry/secret.h"
#include "lib/registry/token.h"
#include "lib/registry/url.h"

enum { REDIRECTS_MAX = 10, HEADERS_MAX = 8 };

/* What one request is on its way. */
struct course {
	struct registry *r;
	const struct request *q;
	struct reply *p;
	enum scheme scheme; /* its own: others find out about the registry meanwhile */
	unsigned redirects;
	bool logged_in; /* anew, within this request */
	bool asked_again; /* the registry, for another address */
};

static char *base_url(const struct registry *r, enum scheme scheme, const char *path)
{
	return xasprintf("%s://%s%s", scheme == SCHEME_HTTP ? "http" : "https", r->asked, path);
}

static enum scheme scheme_of(const struct registry *r)
{
	if (r->scheme != SCHEME_UNKNOWN)
		return (enum scheme)r->scheme;
	return r->o.plain_http ? SCHEME_HTTP : SCHEME_HTTPS;
}

/* Who answers by HTTPS has it; by HTTP also a server of HTTPS may, to say so. */
static void found(struct registry *r, enum scheme scheme)
{
	int unknown = SCHEME_UNKNOWN;

	if (scheme == SCHEME_HTTPS)
		r->scheme = scheme;
	else
		atomic_compare_exchange_strong(&r->scheme, &unknown, scheme);
}

static bool is_at(const struct registry *r, enum scheme scheme, const char *url)
{
	CLEANUP_FREE char *base = base_url(r, scheme, "/");

	return url_same_origin(url, base);
}

bool registry_is_at(const struct registry *r, const char *url)
{
	return is_at(r, scheme_of(r), url);
}

static struct http_control *control_of(struct registry *r, const struct request *q)
{
	return q->control ? q->control : &r->control;
}

/* One transfer to p->url. */
static void transfer(struct course *c, const char *line)
{
	const struct request *q = c->q;
	char *headers[HEADERS_MAX + 2] = { 0 };
	size_t n = 0;
	struct http_request h = {
		.method = q->method,
		.url = c->p->url,
		.headers = headers,
		.tls = c->r->tls,
		.client_cert = !c->p->elsewhere,
		.own_connection = q->own_connection,
		.hurry = q->hurry,
		.body = q->body,
		.answer_max = q->answer_max ? q->answer_max : ANSWER_MAX,
		.sink = q->sink,
		.control = control_of(c->r, q),
	};

	for (char *const *s = q->headers; s && *s && n < HEADERS_MAX; s++)
		headers[n++] = *s;
	if (line)
		headers[n++] = (char *)line;
	http_answer_free(&c->p->answer);
	perform_patiently(c->r, c->p->elsewhere, &h, &c->p->answer);
}

/*
 * May plain HTTP be tried where HTTPS could not be spoken? Only where nobody listens in, or cares.
 * Many requests may begin before the first one has found out: each of them tries for itself.
 */
static bool may_be_plain(const struct course *c)
{
	const struct http_answer *a = &c->p->answer;

	return c->scheme == SCHEME_HTTPS && c->r->scheme != SCHEME_HTTPS && !c->q->url &&
	       (a->end == HTTP_NO_TLS || a->end == HTTP_TLS_BROKEN || a->end == HTTP_REFUSED) &&
	       (!c->r->o.tls_verify || url_is_loopback(c->p->url));
}

static void go_plain(struct course *c)
{
	c->scheme = SCHEME_HTTP;
	free(c->p->url);
	c->p->url = base_url(c->r, c->scheme, c->q->path);
	free(c->p->asked);
	c->p->asked = xstrdup(c->p->url);
}

/* To the registry itself, whose scheme may not be known yet. */
static void transfer_to_registry(struct course *c, const char *line)
{
	const struct http_answer *a = &c->p->answer;

	transfer(c, line);
	if (may_be_plain(c)) {
		go_plain(c);
		transfer(c, line);
	}
	if (a->end == HTTP_DONE || a->end == HTTP_STOPPED)
		found(c->r, c->scheme);
}

/* Where some say how to log in who do not elsewhere. */
static void ask_base(struct course *c, struct http_answer *a)
{
	CLEANUP_FREE char *url = base_url(c->r, c->scheme, "/v2/");
	struct http_request h = {
		.method = "GET",
		.url = url,
		.tls = c->r->tls,
		.client_cert = true,
		.answer_max = ANSWER_MAX,
		.control = control_of(c->r, c->q),
	};

	perform_patiently(c->r, false, &h, a);
}

/* 401. 1: there is better to offer now; 0; -1. */
static int denied(struct course *c, const char *line, struct error **err)
{
	CLEANUP_HTTP_ANSWER struct http_answer base = { 0 };
	const struct http_answer *a = &c->p->answer;

	if (!http_header(a, "WWW-Authenticate", 0)) {
		ask_base(c, &base);
		a = &base;
	}
	return auth_denied(c->r->auth, c->q->from, line, a, control_of(c->r, c->q), err);
}

/* With Authorization, which only the registry sees. 1: there is a better one now; 0; -1. */
static int ask(struct course *c, struct error **err)
{
	CLEANUP_WIPE char *line = NULL;
	int rc;

	c->p->elsewhere = !is_at(c->r, c->scheme, c->p->url);
	if (c->p->elsewhere || !c->r->auth) {
		transfer(c, NULL);
		return 0;
	}
	if (auth_line(c->r->auth, c->q->from, control_of(c->r, c->q), &line, err) < 0)
		return -1;
	transfer_to_registry(c, line);
	if (c->p->answer.end != HTTP_DONE || c->p->answer.status != 401 || c->logged_in)
		return 0;
	rc = denied(c, line, err);
	c->logged_in = rc == 1;
	return rc;
}

bool answer_is_redirect(const struct http_answer *a)
{
	return a->end == HTTP_DONE && (a->status == 301 || a->status == 302 || a->status == 303 ||
					      a->status == 307 || a->status == 308);
}

char *reply_location(const struct registry *r, const struct reply *p, struct error **err)
{
	const char *location = http_header(&p->answer, "Location", 0);
	char *next;

	if (!location) {
		error_set(err, 0, "%ld: the answer has no Location", p->answer.status);
		return NULL;
	}
	next = url_resolve(p->url, location, err);
	if (next && url_is_https(p->url) && !url_is_https(next) && r->o.tls_verify) {
		free(next);
		error_set(err, 0, "the server leads from https to http");
		return NULL;
	}
	return next;
}

static int redirect(struct course *c, struct error **err)
{
	char *next;

	if (c->redirects++ == REDIRECTS_MAX)
		return error_set(err, 0, "more than %d redirects", REDIRECTS_MAX);
	next = reply_location(c->r, c->p, err);
	if (!next)
		return -1;
	free(c->p->url);
	c->p->url = next;
	return 0;
}

static void start_over(struct course *c)
{
	free(c->p->url);
	c->p->url = xstrdup(c->p->asked);
	c->redirects = 0;
}

/* Signed addresses expire. */
static bool may_have_expired(const struct course *c)
{
	return c->redirects && c->p->elsewhere && !c->asked_again &&
	       c->p->answer.end == HTTP_DONE &&
	       (c->p->answer.status == 403 || c->p->answer.status == 401);
}

/* By 307 and 308 any request goes elsewhere as it is, also its body: each transfer sends that from
 * its beginning. The others would make a GET of it. */
static bool is_to_be_followed(const struct course *c)
{
	const struct http_answer *a = &c->p->answer;

	return answer_is_redirect(a) && (c->q->follow || a->status == 307 || a->status == 308);
}

static int follow(struct course *c, struct error **err)
{
	for (;;) {
		int again = ask(c, err);

		if (again < 0)
			return -1;
		if (again)
			continue;
		if (is_to_be_followed(c)) {
			if (redirect(c, err) < 0)
				return registry_wrap(c->r, c->q->method, c->p->url, err);
		} else if (may_have_expired(c)) {
			c->asked_again = true;
			start_over(c);
		} else {
			return 0;
		}
	}
}

int request_once(struct registry *r, const struct request *q, struct reply *p, struct error **err)
{
	struct course c = { .r = r, .q = q, .p = p, .scheme = scheme_of(r) };

	reply_free(p);
	p->url = q->url ? xstrdup(q->url) : base_url(r, c.scheme, q->path);
	p->asked = xstrdup(p->url);
	return follow(&c, err);
}

int request(struct registry *r, const struct request *q, struct reply *p, struct error **err)
{
	struct retry retry = { .most = r->o.retries, .control = control_of(r, q) };

	for (;;) {
		CLEANUP_ERROR struct error *e = NULL;

		if (request_once(r, q, p, err) < 0)
			return -1;
		if (p->answer.end == HTTP_DONE && !retry_worthwhile(&retry, &p->answer))
			return 0;
		reply_error(r, q->method, p->url, &p->answer, &e);
		if (retry_worthwhile(&retry, &p->answer) && retry_wait(&retry, &p->answer, e->msg))
			continue;
		if (interrupt_pending())
			return error_set(err, 0, "interrupted");
		*err = take_ptr(e);
		return -1;
	}
}
