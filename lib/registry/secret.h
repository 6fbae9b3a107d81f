/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Memory that held a secret is wiped before it is given back. */
#ifndef REGISTRY_SECRET_H
#define REGISTRY_SECRET_H

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

static inline void wipe_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

static inline void cleanup_wipe_(char **s)
{
	wipe_free(*s);
}
#define CLEANUP_WIPE CLEANUP(cleanup_wipe_)

/* One behind the other, for wipe_free(); asprintf() would leave a copy in memory it gives back. */
static inline char *secret_join(const char *a, const char *b, const char *c)
{
	char *all = xzalloc(strlen(a) + strlen(b) + strlen(c) + 1);

	stpcpy(stpcpy(stpcpy(all, a), b), c);
	return all;
}

/* A buffer of fixed size, whatever is in it. */
struct secret_buffer {
	char *bytes;
	size_t len; /* how much of it has been written to */
};

static inline void cleanup_secret_buffer_(struct secret_buffer *b)
{
	if (b->bytes)
		explicit_bzero(b->bytes, b->len);
	free(b->bytes);
}
#define CLEANUP_SECRET_BUFFER CLEANUP(cleanup_secret_buffer_)

#endif
