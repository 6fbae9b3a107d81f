/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Where a registry has sent us for a blob: remembered for a short time, so that each further range
 * of it costs one round trip and not two.
 */
#ifndef REGISTRY_REDIRECTS_H
#define REGISTRY_REDIRECTS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"

enum {
	REDIRECTS_KEPT = 256, /* of one repository; then the oldest goes */
	REDIRECT_SECONDS = 60, /* at most */
	REDIRECT_LENGTH_MAX = 8192, /* of an address; longer ones are not kept */
};

struct redirect {
	struct digest digest;
	char *url; /* its query may be a secret */
	uint64_t until; /* monotonic milliseconds */
};

/* All zeros but for the lock: none. */
struct redirects {
	pthread_mutex_t lock;
	struct redirect *kept;
	size_t n, cap;
};

/* The address, for auth_line_free(); or NULL. */
char *redirects_find(struct redirects *t, const struct digest *digest);
void redirects_keep(struct redirects *t, const struct digest *digest, const char *url);
void redirects_drop(struct redirects *t, const struct digest *digest); /* NULL: all */
void redirects_free(struct redirects *t); /* what it holds */

/*
 * For how many seconds an address may be kept: its query says when a signature expires, in the ways
 * of S3, Google's storage, CloudFront and Azure. `now` is wall time.
 */
unsigned redirect_lifetime(const char *url, int64_t now);

#endif
