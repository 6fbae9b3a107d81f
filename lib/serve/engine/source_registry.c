// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* A repository, and a server that has nothing but blobs: requests and tries are lib/registry's. */
#include "config.h"

#include <string.h>
#include <xxhash.h>

#include "lib/base/mem.h"
#include "lib/serve/engine/sources.h"

enum {
	AHEAD = 1024 * 1024, /* bytes of a stream that wait in memory */
	SILENCES = 4, /* of servers, one after the other, fit into the deadline, ... */
	SILENCE_MIN = 2000, /* ... or this many milliseconds of each; */
	SILENCE_MAX = 15 * 1000, /* at most, before somebody else is asked, or it is asked again */
};

unsigned source_patience(unsigned deadline)
{
	uint64_t ms = (uint64_t)deadline * 1000 / SILENCES;

	return ms < SILENCE_MIN ? SILENCE_MIN : ms < SILENCE_MAX ? (unsigned)ms : SILENCE_MAX;
}

struct registry_source {
	struct blob_source source;
	struct registry *registry;
};

static int registry_source_read(struct blob_source *source, const struct digest *blob,
	uint64_t offset, void *buf, size_t len, struct error **err)
{
	const struct registry_source *s = (const struct registry_source *)source;

	return registry_read_blob(s->registry, blob, offset, buf, len, err);
}

static int registry_source_stream(struct blob_source *source, const struct digest *blob,
	uint64_t offset, uint64_t len, const struct stream_user *user, struct error **err)
{
	const struct registry_source *s = (const struct registry_source *)source;
	CLEANUP_STREAM struct stream *stream =
		registry_open_range(s->registry, blob, offset, len, AHEAD, err);

	return stream ? user->use(user->arg, stream, err) : -1;
}

static void registry_source_blame(struct blob_source *source)
{
	registry_forget_redirects(((struct registry_source *)source)->registry);
}

static void registry_source_cancel(struct blob_source *source, const struct digest *blob)
{
	registry_cancel_blob(((struct registry_source *)source)->registry, blob);
}

static void registry_source_close(struct blob_source *source)
{
	free(source);
}

static void http_source_close(struct blob_source *source)
{
	registry_close(((struct registry_source *)source)->registry);
	free(source);
}

static uint64_t place_of(const char *host)
{
	uint64_t place = XXH3_64bits(host, strlen(host));

	return place ? place : 1;
}

struct blob_source *source_registry_new(struct registry *r)
{
	struct registry_source *s = xzalloc(sizeof(*s));

	s->source = (struct blob_source){
		.read = registry_source_read,
		.stream = registry_source_stream,
		.blame = registry_source_blame,
		.cancel = registry_source_cancel,
		.close = registry_source_close,
		.gap = 128 * 1024, /* some round trip's worth */
		.place = place_of(registry_host(r)),
	};
	s->registry = r;
	return &s->source;
}

struct blob_source *source_http_new(
	const char *base_url, const struct registry_options *options, struct error **err)
{
	struct registry *r = registry_open_blobs(base_url, options, err);
	struct blob_source *s = r ? source_registry_new(r) : NULL;

	if (s)
		s->close = http_source_close;
	return s;
}
