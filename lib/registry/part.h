/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What the parts of the client share. Nothing outside of lib/registry includes it. */
#ifndef REGISTRY_PART_H
#define REGISTRY_PART_H

#include <pthread.h>

#include "lib/registry/auth.h"
#include "lib/registry/http.h"
#include "lib/registry/redirects.h"
#include "lib/registry/registry.h"

enum scheme { SCHEME_UNKNOWN, SCHEME_HTTPS, SCHEME_HTTP };

enum { MANIFEST_MAX = 4 * 1024 * 1024, ANSWER_MAX = 1024 * 1024 };

/* An upload that a refused mount has begun: the blob's own upload goes on with it. */
struct begun_upload {
	struct begun_upload *next;
	struct digest digest;
	char *url;
	uint64_t chunk_min;
};

struct registry {
	char *host; /* as it was named: for errors and credentials */
	char *asked; /* HOST[:PORT] that requests go to */
	char *name; /* NULL: it has nothing but blobs, below `base` */
	char *base; /* a path without a slash at its end */
	enum registry_access access;
	struct registry_options o;
	struct http *http;
	struct tls *tls;
	struct warm *warm; /* registry_warm(); or NULL */
	struct auth *auth; /* NULL: nobody logs in there */
	_Atomic int scheme; /* what works there: enum scheme */
	_Atomic uint64_t silent_at[2]; /* patience.c: 0, or when it, or where it leads to, was */
	struct redirects redirects;
	struct http_control control; /* of requests without one of their own */
	pthread_mutex_t lock;
	struct begun_upload *begun; /* under the lock */
	struct reading *readings; /* the same */
};

void warm_end(struct registry *r);

/* http_perform(), of the registry or of where it leads to, with the time that they have. */
void perform_patiently(
	struct registry *r, bool elsewhere, struct http_request *h, struct http_answer *a);

/* One request to the registry, with all that may stand in the way. */
struct request {
	const char *method;
	const char *path; /* "/v2/...", or NULL */
	const char *url; /* instead: the Location of an upload */
	const char *from; /* a repository that is to be read as well, for a mount; or NULL */
	char *const *headers; /* ends with NULL */
	struct http_body *body;
	size_t answer_max; /* 0: ANSWER_MAX */
	const struct http_sink *sink;
	struct http_control *control;
	bool follow; /* all redirects, to any host; 307 and 308 always are */
	bool own_connection;
	uint64_t hurry; /* as struct http_request has it */
};

struct reply {
	struct http_answer answer;
	char *url; /* that the answer came from; a secret may be in its query */
	char *asked; /* that was asked for first */
	bool elsewhere; /* another origin than the registry's */
};
void reply_free(struct reply *p);
#define CLEANUP_REPLY CLEANUP(reply_free)

/*
 * Ask once: find the scheme that works, log in, follow redirects. 0 when there is an answer, or
 * none for a reason that another try may better: reply.answer says which. -1 when it is hopeless.
 * The reply is empty or filled when called, and filled after.
 */
int request_once(struct registry *r, const struct request *q, struct reply *p, struct error **err);

/* The same with further tries. 0: an answer with a status; not one that is worth a try. */
int request(struct registry *r, const struct request *q, struct reply *p, struct error **err);

/* Where a blob is: "/v2/...". The caller frees it. */
char *registry_blob_path(const struct registry *r, const struct digest *digest);

/* Is this address one of the registry itself: for Authorization, and our certificate? */
bool registry_is_at(const struct registry *r, const char *url);

bool answer_is_redirect(const struct http_answer *a);

/* Where the answer's Location leads; the caller's to free. NULL with *err: it must not be used. */
char *reply_location(const struct registry *r, const struct reply *p, struct error **err);

/* The sentence for an answer that is not the one hoped for. Returns -1. */
int reply_error(const struct registry *r, const char *method, const char *url,
	const struct http_answer *a, struct error **err);

/* The registry's own words in an error's body, printable and short; NULL: there are none. */
char *answer_message(const struct http_answer *a);

/* "registry HOST: METHOD URL: " in front. Returns -1. */
int registry_wrap(
	const struct registry *r, const char *method, const char *url, struct error **err);

/* Does the header Docker-Content-Digest, if it is there, name these bytes? */
int check_stated_digest(
	const struct http_answer *a, const struct digest *digest, struct error **err);

#endif
