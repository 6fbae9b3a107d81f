// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* A range of a blob into memory. Each reading can be given up alone. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/registry/fetch.h"

struct reading {
	struct reading *next;
	const struct digest *digest;
	struct http_control control;
	char *at; /* where the next byte goes */
};

static void begin(struct registry *r, struct reading *g)
{
	pthread_mutex_lock(&r->lock);
	g->control.cancel = r->control.cancel;
	g->next = r->readings;
	r->readings = g;
	pthread_mutex_unlock(&r->lock);
}

static void end(struct registry *r, struct reading *g)
{
	struct reading **at = &r->readings;

	pthread_mutex_lock(&r->lock);
	while (*at != g)
		at = &(*at)->next;
	*at = g->next;
	pthread_mutex_unlock(&r->lock);
}

static void cancel(struct registry *r, const struct digest *digest)
{
	pthread_mutex_lock(&r->lock);
	for (struct reading *g = r->readings; g; g = g->next)
		if (!digest || digest_equal(g->digest, digest))
			g->control.cancel = true;
	pthread_mutex_unlock(&r->lock);
}

void registry_cancel(struct registry *r)
{
	r->control.cancel = true;
	cancel(r, NULL);
}

void registry_cancel_blob(struct registry *r, const struct digest *digest)
{
	cancel(r, digest);
}

static bool take(void *arg, const void *p, size_t n)
{
	struct reading *g = arg;

	memcpy(g->at, p, n);
	g->at += n;
	return true;
}

int registry_read_blob(struct registry *r, const struct digest *digest, uint64_t offset, void *buf,
	size_t len, struct error **err)
{
	struct reading g = { .digest = digest, .at = buf };
	struct fetch f = {
		.r = r,
		.digest = digest,
		.at = offset,
		.end = offset + len,
		.size = FETCH_SIZE_UNKNOWN,
		.take = take,
		.arg = &g,
		.control = &g.control,
	};
	int rc;

	if (len > INT64_MAX || offset > (uint64_t)INT64_MAX - len)
		return error_set(err, 0, "no blob has a byte %llu", (unsigned long long)offset);
	begin(r, &g);
	rc = registry_fetch_run(&f, err);
	end(r, &g);
	if (rc < 0 && g.control.cancel) {
		error_free(take_ptr(*err));
		return error_set(err, ECANCELED, "cancelled");
	}
	return rc;
}
