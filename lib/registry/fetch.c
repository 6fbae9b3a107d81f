// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/fetch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fmt/http_headers.h"
#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/registry/retry.h"
#include "lib/registry/secret.h"

static bool is_whole(const struct fetch *f)
{
	return f->at == 0 && f->end == f->size;
}

/* All of the blob, perhaps from a server that does not know ranges. */
static bool accept_whole(struct fetch *f, const struct http_answer *a)
{
	if (a->length >= 0 && f->size != FETCH_SIZE_UNKNOWN && (uint64_t)a->length > f->size) {
		snprintf(f->fault, sizeof(f->fault),
			"the blob has %" PRId64 " bytes there, not %" PRIu64, a->length, f->size);
		return true;
	}
	f->skip = f->at;
	f->goes_on = f->end != f->size;
	return true;
}

static bool accept_part(struct fetch *f, const struct http_answer *a)
{
	const char *value = http_header(a, "Content-Range", 0);
	struct http_content_range c;

	f->skip = 0;
	f->goes_on = false;
	if (!value || !http_content_range(value, &c))
		snprintf(f->fault, sizeof(f->fault), "206 without a readable Content-Range");
	else if (c.first != f->at)
		snprintf(f->fault, sizeof(f->fault),
			"asked for bytes from %" PRIu64 " on, answered with those from %" PRIu64,
			f->at, c.first);
	else if (c.total_known && f->size != FETCH_SIZE_UNKNOWN && c.total != f->size)
		snprintf(f->fault, sizeof(f->fault),
			"the blob has %" PRIu64 " bytes there, not %" PRIu64, c.total, f->size);
	else if (c.last >= f->end)
		snprintf(f->fault, sizeof(f->fault), "answered with more bytes than asked for");
	return true;
}

static bool on_begin(void *arg, const struct http_answer *a)
{
	struct fetch *f = arg;

	if (a->status == 200)
		return accept_whole(f, a);
	return a->status == 206 && accept_part(f, a);
}

static enum http_taken on_data(void *arg, const void *p, size_t n, const char **why)
{
	struct fetch *f = arg;
	size_t skipped = n < f->skip ? n : (size_t)f->skip, wanted = n - skipped;
	bool too_many = wanted > f->end - f->at;

	if (*f->fault) {
		*why = "refused";
		return HTTP_REFUSE;
	}
	if (too_many && !f->goes_on) {
		*why = f->end == f->size ? "more bytes than the blob has"
					 : "more bytes than asked for";
		return HTTP_REFUSE;
	}
	if (too_many)
		wanted = (size_t)(f->end - f->at);
	if (wanted && !f->take(f->arg, (const char *)p + skipped, wanted))
		return HTTP_PAUSE;
	f->skip -= skipped;
	f->at += wanted;
	return f->at == f->end && f->goes_on ? HTTP_STOP : HTTP_TAKE;
}

/* The registry, or with `url` the server that it has named before. */
static int ask_at(struct fetch *f, const char *url, struct reply *p, struct error **err)
{
	CLEANUP_FREE char *path = registry_blob_path(f->r, f->digest);
	CLEANUP_FREE char *range =
		f->size == FETCH_SIZE_UNKNOWN || f->end != f->size
			? xasprintf("Range: bytes=%" PRIu64 "-%" PRIu64, f->at, f->end - 1)
			: xasprintf("Range: bytes=%" PRIu64 "-", f->at);
	char *headers[] = { is_whole(f) ? NULL : range, NULL };
	struct http_sink sink = { on_begin, on_data, f };
	struct request q = {
		.method = "GET",
		.path = path,
		.url = url,
		.headers = headers,
		.sink = &sink,
		.control = f->control,
		.follow = true,
		.own_connection = f->wait_for_room || f->alone,
		.hurry = f->hurry ? f->end - f->at : 0,
	};

	*f->fault = '\0';
	return request_once(f->r, &q, p, err);
}

static bool is_served(const struct fetch *f, const struct reply *p)
{
	const struct http_answer *a = &p->answer;

	return !*f->fault && (a->status == 200 || a->status == 206) &&
	       (a->end == HTTP_DONE || a->end == HTTP_STOPPED || a->end == HTTP_PAUSED);
}

static bool is_given_up(const struct reply *p)
{
	return p->answer.end == HTTP_CANCELLED || p->answer.end == HTTP_INTERRUPTED;
}

/* true: the answer is to be judged. Else it is as if nothing had been asked, and the address is
 * forgotten. */
static bool ask_there(struct fetch *f, const char *url, struct reply *p)
{
	CLEANUP_ERROR struct error *ignored = NULL;
	uint64_t before = f->at;
	bool asked = ask_at(f, url, p, &ignored) == 0;

	if (asked && (is_served(f, p) || is_given_up(p)))
		return true;
	redirects_drop(&f->r->redirects, f->digest);
	return asked && (f->at != before || p->answer.stalled); /* that took long enough */
}

static int ask(struct fetch *f, struct reply *p, struct error **err)
{
	CLEANUP_WIPE char *url = redirects_find(&f->r->redirects, f->digest);

	if (url && ask_there(f, url, p))
		return 0;
	if (ask_at(f, NULL, p, err) < 0)
		return -1;
	if (is_served(f, p) && strcmp(p->url, p->asked) != 0)
		redirects_keep(&f->r->redirects, f->digest, p->url);
	return 0;
}

static bool took_all(const struct fetch *f, const struct http_answer *a)
{
	return f->at == f->end && !*f->fault &&
	       (a->end == HTTP_DONE || a->end == HTTP_STOPPED || a->end == HTTP_BROKEN);
}

static bool is_cut(const struct http_answer *a)
{
	return a->end == HTTP_DONE && (a->status == 200 || a->status == 206);
}

/* What went wrong in a try, in words. */
static void explain(struct fetch *f, const struct reply *p, struct error **err)
{
	const struct http_answer *a = &p->answer;

	if (*f->fault)
		error_set(err, 0, "%s", f->fault);
	else if (is_cut(a))
		error_set(err, 0, "the answer ends after %" PRIu64 " of %" PRIu64 " bytes", f->at,
			f->end);
	else if (a->end == HTTP_DONE && a->status == 416)
		error_set(err, 0, "416: the blob ends before byte %" PRIu64 " there", f->at);
	else {
		reply_error(f->r, "GET", p->url, a, err);
		return;
	}
	if (!*f->fault && is_cut(a))
		(*err)->code = EAGAIN;
	registry_wrap(f->r, "GET", p->url, err);
}

static bool worth_a_try(const struct fetch *f, const struct retry *r, const struct http_answer *a)
{
	return !*f->fault && (is_cut(a) || retry_worthwhile(r, a));
}

/* 1: try again; 0: it is all there; -1. */
static int judge(struct fetch *f, struct retry *retry, const struct reply *p, uint64_t got,
	struct error **err)
{
	const struct http_answer *a = &p->answer;
	CLEANUP_ERROR struct error *e = NULL;

	if (took_all(f, a))
		return 0;
	if (a->end == HTTP_PAUSED)
		return f->wait_for_room(f->arg) ? 1 : error_set(err, 0, "cancelled");
	if (a->end == HTTP_BROKEN && a->was_paused && got)
		return 1; /* the server tired of waiting for us: that is no failure of its */
	f->alone = a->end == HTTP_BROKEN;
	if (a->crawled)
		retry->made = 0; /* slow all the time may be as fast as it gets */
	else
		retry_progress(retry, got);
	explain(f, p, &e);
	if (worth_a_try(f, retry, a) && retry_wait(retry, a, e->msg))
		return 1;
	if (interrupt_pending())
		return error_set(err, 0, "interrupted");
	*err = take_ptr(e);
	return -1;
}

int registry_fetch_run(struct fetch *f, struct error **err)
{
	struct retry retry = {
		.most = f->r->o.retries, .discreet = f->hurry, .control = f->control
	};
	CLEANUP_REPLY struct reply p = { 0 };

	while (f->at < f->end) {
		uint64_t before = f->at;
		int rc;

		if (ask(f, &p, err) < 0)
			return -1;
		rc = judge(f, &retry, &p, f->at - before, err);
		if (rc <= 0)
			return rc;
	}
	return 0;
}
