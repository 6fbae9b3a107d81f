// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* A range of a blob into memory; and how readings of blobs are given up. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/registry/fetch.h"

void reading_begin(struct registry *r, struct reading *g)
{
	pthread_mutex_lock(&r->lock);
	if (r->control.cancel)
		g->control.cancel = true;
	g->next = r->readings;
	r->readings = g;
	pthread_mutex_unlock(&r->lock);
}

void reading_end(struct registry *r, struct reading *g)
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
		if (!digest || (g->digest && digest_equal(g->digest, digest)))
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

int check_range(uint64_t offset, uint64_t len, struct error **err)
{
	if (len > INT64_MAX || offset > (uint64_t)INT64_MAX - len)
		return error_set(err, 0, "no blob has a byte %llu", (unsigned long long)offset);
	return 0;
}

static bool take(void *arg, const void *p, size_t n)
{
	char **at = arg; /* where the next byte goes */

	memcpy(*at, p, n);
	*at += n;
	return true;
}

int registry_read_blob(struct registry *r, const struct digest *digest, uint64_t offset, void *buf,
	size_t len, struct error **err)
{
	struct reading g = { .digest = digest };
	char *at = buf;
	struct fetch f = {
		.r = r,
		.digest = digest,
		.at = offset,
		.end = offset + len,
		.size = FETCH_SIZE_UNKNOWN,
		.take = take,
		.arg = &at,
		.control = &g.control,
		.hurry = true,
	};
	int rc;

	if (check_range(offset, len, err) < 0)
		return -1;
	reading_begin(r, &g);
	rc = registry_fetch_run(&f, err);
	reading_end(r, &g);
	if (rc < 0 && g.control.cancel) {
		error_free(take_ptr(*err));
		return error_set(err, ECANCELED, "cancelled");
	}
	return rc;
}
