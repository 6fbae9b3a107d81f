// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A blob to the registry (distribution-spec 1.1, "Pushing blobs"). A session is begun by POST, and
 * each answer's Location is the address of the next request. What breaks is asked about with GET,
 * and goes on in pieces from where the server stopped; when the session is gone, another one is
 * begun.
 */
#include "config.h"

#include <inttypes.h>

#include "fmt/http_headers.h"
#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/registry/part.h"
#include "lib/registry/retry.h"
#include "lib/registry/url.h"

#define PIECE (32u * 1024 * 1024) /* what is lost at most when a connection breaks again */
#define LEAST (64u * 1024) /* of a piece is taken, or all of it */

struct upload {
	struct registry *r;
	const struct digest *digest;
	struct http_body file; /* the whole: its `at` is not used */
	uint64_t at; /* the server has the bytes before */
	uint64_t furthest; /* it ever had: only more than that is progress */
	uint64_t counted; /* in *file.sent */
	char *url; /* of the session, or NULL: none is open */
	uint64_t chunk_min; /* 0: the server does not ask for pieces */
	bool in_pieces;
	struct retry retry;
};

enum outcome { FAILED = -1, FINISHED, GO_ON };

/* The progress follows what the server has, also backwards. */
static void count_up_to(struct upload *u, uint64_t at)
{
	u->at = at;
	if (u->file.sent)
		*u->file.sent += at - u->counted;
	u->counted = at;
}

static void count_received(struct upload *u, uint64_t received)
{
	if (received > u->furthest) {
		retry_progress(&u->retry, received - u->furthest);
		u->furthest = received;
	}
	count_up_to(u, received);
}

static void set_url(struct upload *u, char *url)
{
	free(u->url);
	u->url = url;
}

static void forget_session(struct upload *u)
{
	set_url(u, NULL);
	u->in_pieces = false;
	count_up_to(u, 0);
}

static int take_location(
	struct upload *u, const struct reply *p, const char *method, struct error **err)
{
	char *url = reply_location(u->r, p, err);

	if (!url)
		return registry_wrap(u->r, method, p->url, err);
	set_url(u, url);
	return 0;
}

static void take_session(struct upload *u, const struct reply *p)
{
	const char *least = http_header(&p->answer, "OCI-Chunk-Min-Length", 0);

	if (!least || !http_decimal(least, &u->chunk_min))
		u->chunk_min = 0;
	u->in_pieces = u->chunk_min > 0;
}

/* One that a refused mount has opened for this blob. */
static bool reuse_session(struct upload *u)
{
	struct registry *r = u->r;
	struct begun_upload *found = NULL;

	pthread_mutex_lock(&r->lock);
	for (struct begun_upload **b = &r->begun; *b; b = &(*b)->next) {
		if (digest_equal(&(*b)->digest, u->digest)) {
			found = *b;
			*b = found->next;
			break;
		}
	}
	pthread_mutex_unlock(&r->lock);
	if (!found)
		return false;
	set_url(u, found->url);
	u->chunk_min = found->chunk_min;
	u->in_pieces = u->chunk_min > 0;
	free(found);
	return true;
}

static int begin_session(struct upload *u, struct error **err)
{
	CLEANUP_FREE char *path = xasprintf("/v2/%s/blobs/uploads/", u->r->name);
	CLEANUP_REPLY struct reply p = { 0 };
	struct request q = { .method = "POST", .path = path };

	if (reuse_session(u))
		return 0;
	if (request(u->r, &q, &p, err) < 0)
		return -1;
	if (p.answer.status != 202)
		return reply_error(u->r, q.method, p.url, &p.answer, err);
	take_session(u, &p);
	return take_location(u, &p, q.method, err);
}

/* [u->at, u->at + size) of the file as a body. */
static struct http_body piece_of(const struct upload *u, uint64_t size)
{
	return (struct http_body){
		.fd = u->file.fd,
		.offset = u->file.offset + u->at,
		.size = size,
		.sent = u->file.sent,
	};
}

/* Send one request with a body; what it counted is counted by u from now on. */
static int send_body(struct upload *u, const struct request *q, struct reply *p, struct error **err)
{
	int rc = request_once(u->r, q, p, err);

	u->counted = u->at + q->body->at;
	return rc;
}

/* 204 with a Range says how far the server is. */
static enum outcome take_state(struct upload *u, const struct reply *p, struct error **err)
{
	const char *range = http_header(&p->answer, "Range", 0);
	uint64_t received;

	/* "0-0" is one byte by the specification, none in the reference implementation */
	if (!range || !http_upload_range(range, &received) || received <= 1 ||
		received > u->file.size) {
		forget_session(u);
		return GO_ON;
	}
	if (http_header(&p->answer, "Location", 0) && take_location(u, p, "GET", err) < 0)
		return FAILED;
	u->in_pieces = true;
	count_received(u, received);
	return GO_ON;
}

/* After a failure: the answer to a PUT may be what got lost, then the blob is there. */
static enum outcome is_there(struct upload *u, struct error **err)
{
	uint64_t size = 0;
	int rc = registry_has_blob(u->r, u->digest, &size, err);

	if (rc < 0)
		return FAILED;
	if (rc == 1 && (size == u->file.size || size == UINT64_MAX)) {
		count_up_to(u, u->file.size);
		return FINISHED;
	}
	forget_session(u);
	return GO_ON;
}

static enum outcome ask_state(struct upload *u, struct error **err)
{
	CLEANUP_REPLY struct reply p = { 0 };
	struct request q = { .method = "GET", .url = u->url };

	if (request(u->r, &q, &p, err) < 0)
		return FAILED;
	if (p.answer.status == 204)
		return take_state(u, &p, err);
	return is_there(u, err);
}

/* Is this the session's end, or the server's disagreement about where it is? */
static bool is_session_trouble(const struct http_answer *a)
{
	return a->end == HTTP_DONE && (a->status == 404 || a->status == 416);
}

/* Wait and ask where the server is; or, when there have been enough failures, it is e. */
static enum outcome try_again(
	struct upload *u, const struct reply *p, struct error *e, struct error **err)
{
	CLEANUP_ERROR struct error *owned = e;

	if (retry_wait(&u->retry, &p->answer, e->msg))
		return ask_state(u, err);
	if (interrupt_pending())
		return (enum outcome)error_set(err, 0, "interrupted");
	*err = take_ptr(owned);
	return FAILED;
}

static enum outcome recover(
	struct upload *u, const char *method, const struct reply *p, struct error **err)
{
	struct error *e = NULL;

	reply_error(u->r, method, p->url, &p->answer, &e);
	if (is_session_trouble(&p->answer) || retry_worthwhile(&u->retry, &p->answer))
		return try_again(u, p, e, err);
	*err = e;
	return FAILED;
}

static bool succeeded(const struct http_answer *a)
{
	return a->end == HTTP_DONE && a->status >= 200 && a->status < 300;
}

/* The last request, with all of the bytes that are left: all, or none. */
static enum outcome put(struct upload *u, struct error **err)
{
	char s[DIGEST_MAX_STR];
	CLEANUP_FREE char *url = url_add_query(u->url, "digest", digest_format(u->digest, s));
	struct http_body body = piece_of(u, u->file.size - u->at);
	char *headers[] = { (char *)"Content-Type: application/octet-stream", NULL };
	CLEANUP_REPLY struct reply p = { 0 };
	struct request q = {
		.method = "PUT",
		.url = url,
		.headers = headers,
		.body = &body,
		.own_connection = true,
	};

	if (send_body(u, &q, &p, err) < 0)
		return FAILED;
	if (!succeeded(&p.answer))
		return recover(u, q.method, &p, err);
	if (check_stated_digest(&p.answer, u->digest, err) < 0)
		return (enum outcome)registry_wrap(u->r, q.method, p.url, err);
	return FINISHED;
}

static enum outcome disagree(struct upload *u, const struct reply *p, struct error **err)
{
	struct error *e = NULL;

	error_set(&e, 0, "the answer's Range does not fit what has been sent");
	registry_wrap(u->r, "PATCH", p->url, &e);
	return try_again(u, p, e, err);
}

static enum outcome take_patched(
	struct upload *u, const struct reply *p, uint64_t size, struct error **err)
{
	const char *range = http_header(&p->answer, "Range", 0);
	uint64_t received = u->at + size;

	if (http_header(&p->answer, "Location", 0) && take_location(u, p, "PATCH", err) < 0)
		return FAILED;
	if (range && (!http_upload_range(range, &received) || received <= u->at ||
			     received > u->at + size))
		return disagree(u, p, err);
	if (received < u->at + size && received - u->at < LEAST)
		return disagree(u, p, err); /* it would go on for ever */
	count_received(u, received);
	return GO_ON;
}

static enum outcome patch(struct upload *u, struct error **err)
{
	uint64_t left = u->file.size - u->at;
	uint64_t piece = u->chunk_min > PIECE ? u->chunk_min : PIECE;
	struct http_body body = piece_of(u, left < piece ? left : piece);
	CLEANUP_FREE char *range =
		xasprintf("Content-Range: %" PRIu64 "-%" PRIu64, u->at, u->at + body.size - 1);
	char *headers[] = { (char *)"Content-Type: application/octet-stream", range, NULL };
	CLEANUP_REPLY struct reply p = { 0 };
	struct request q = {
		.method = "PATCH",
		.url = u->url,
		.headers = headers,
		.body = &body,
		.own_connection = true,
	};

	if (send_body(u, &q, &p, err) < 0)
		return FAILED;
	if (!succeeded(&p.answer))
		return recover(u, q.method, &p, err);
	return take_patched(u, &p, body.size, err);
}

static int run(struct upload *u, struct error **err)
{
	enum outcome o = GO_ON;

	while (o == GO_ON) {
		if (!u->url && begin_session(u, err) < 0)
			return -1;
		o = u->in_pieces && u->at < u->file.size ? patch(u, err) : put(u, err);
	}
	return o == FINISHED ? 0 : -1;
}

int registry_put_blob(struct registry *r, const struct digest *digest, int fd, uint64_t offset,
	uint64_t size, _Atomic uint64_t *sent, struct error **err)
{
	struct upload u = {
		.r = r,
		.digest = digest,
		.file = { .fd = fd, .offset = offset, .size = size, .sent = sent },
		.retry = { .most = r->o.retries, .control = &r->control },
	};
	int rc;

	if (size > INT64_MAX || offset > (uint64_t)INT64_MAX - size)
		return error_set(err, 0, "no file has a byte %" PRIu64, offset);
	rc = run(&u, err);
	free(u.url);
	return rc;
}

static void keep_session(struct registry *r, const struct digest *digest, const struct reply *p)
{
	CLEANUP_ERROR struct error *ignored = NULL;
	const char *least = http_header(&p->answer, "OCI-Chunk-Min-Length", 0);
	char *url = reply_location(r, p, &ignored);
	struct begun_upload *b;

	if (!url)
		return;
	b = xzalloc(sizeof(*b));
	b->digest = *digest;
	b->url = url;
	if (least && !http_decimal(least, &b->chunk_min))
		b->chunk_min = 0;
	pthread_mutex_lock(&r->lock);
	b->next = r->begun;
	r->begun = b;
	pthread_mutex_unlock(&r->lock);
}

int registry_mount_blob(
	struct registry *r, const struct digest *digest, const char *from, struct error **err)
{
	char s[DIGEST_MAX_STR];
	CLEANUP_FREE char *base = xasprintf("/v2/%s/blobs/uploads/", r->name);
	CLEANUP_FREE char *with_mount = url_add_query(base, "mount", digest_format(digest, s));
	CLEANUP_FREE char *path = url_add_query(with_mount, "from", from);
	CLEANUP_REPLY struct reply p = { 0 };
	struct request q = { .method = "POST", .path = path, .from = from };

	if (request(r, &q, &p, err) < 0)
		return -1;
	if (p.answer.status == 201)
		return check_stated_digest(&p.answer, digest, err) == 0
			       ? 1
			       : registry_wrap(r, q.method, p.url, err);
	if (p.answer.status == 202)
		keep_session(r, digest, &p);
	else if (p.answer.status < 400 || p.answer.status >= 500)
		return reply_error(r, q.method, p.url, &p.answer, err);
	return 0; /* we may not read the other one, or it is not there, or nothing is mounted here
		   */
}
