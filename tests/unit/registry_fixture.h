/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What the tests of lib/registry have in common. */
#ifndef TESTS_UNIT_REGISTRY_FIXTURE_H
#define TESTS_UNIT_REGISTRY_FIXTURE_H

#include <time.h>

#include "lib/registry/http.h"
#include "lib/registry/registry.h"
#include "lib/registry/retry.h"
#include "tests/unit/http_server.h"

enum { MIB = 1024 * 1024 };

/* Plain HTTP and nobody's credentials, unless a test says otherwise. */
#define PLAIN                                           \
	((struct registry_options){ .plain_http = true, \
		.tls_verify = true,                     \
		.retries = 3,                           \
		.credentials.no_creds = true })

/*
 * Until the end of the scope. Whoever waits for a limit makes it short; for all others a machine
 * may be as slow as for people.
 */
static inline struct http_limits limits_are(struct http_limits limits)
{
	http_set_limits(&limits);
	return HTTP_LIMITS_DEFAULT;
}

static inline void cleanup_limits_(struct http_limits *before)
{
	http_set_limits(before);
}
/* clang takes a variable that is only cleaned up for an unused one */
#define CLEANUP_LIMITS CLEANUP(cleanup_limits_) __attribute__((unused))

static inline struct http_limits stall_after(unsigned ms)
{
	struct http_limits limits = HTTP_LIMITS_DEFAULT;

	limits.stall = ms;
	return limits_are(limits);
}

static inline struct http_limits pause_for(unsigned ms)
{
	struct http_limits limits = HTTP_LIMITS_DEFAULT;

	limits.pause = ms;
	return limits_are(limits);
}

static inline struct http_limits crawl_for(unsigned ms)
{
	struct http_limits limits = HTTP_LIMITS_DEFAULT;

	limits.crawl = ms;
	return limits_are(limits);
}

static inline struct http_limits document_within(unsigned ms)
{
	struct http_limits limits = HTTP_LIMITS_DEFAULT;

	limits.document = ms;
	return limits_are(limits);
}

static inline struct registry *open_at(
	const struct server *s, enum registry_access access, const struct registry_options *o)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct registry *r = registry_open(s->host, "some/name", access, o, &err);

	if (!r) {
		printf("# %s\n", err->msg);
		exit(99);
	}
	return r;
}

/* Bytes that differ everywhere. */
static inline char *make_bytes(size_t n)
{
	char *p = xmalloc(n);
	uint32_t v = 1;

	for (size_t i = 0; i < n; i++) {
		v = v * 1664525 + 1013904223;
		p[i] = (char)(v >> 24);
	}
	return p;
}

static inline struct digest digest_of_bytes(const void *p, size_t n)
{
	struct digest d;

	digest_of(&d, DIGEST_SHA256, p, n);
	return d;
}

static inline uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void sleep_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/* An error that says all of these, up to a NULL. */
static inline void check_error(struct error *err, ...)
{
	const char *part;
	va_list ap;

	if (!CHECK(err != NULL))
		return;
	va_start(ap, err);
	while ((part = va_arg(ap, const char *)))
		if (!strstr(err->msg, part) && !(err->hint && strstr(err->hint, part))) {
			tap_failed_checks++;
			printf("# expected \"%s\" in \"%s\" (%s)\n", part, err->msg,
				err->hint ? err->hint : "no hint");
		}
	va_end(ap);
}

#endif
