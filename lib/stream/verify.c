// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/stream/verify.h"

#include <inttypes.h>
#include <stdbool.h>

#include "lib/base/mem.h"

struct verified {
	struct stream stream;
	struct stream *in;
	struct hasher *hasher;
	struct digest digest;
	uint64_t size, seen;
	bool ended; /* and what the end said, for those who read again */
	bool good;
};

static int verify_end(struct verified *v, struct error **err)
{
	char want[DIGEST_MAX_STR], got[DIGEST_MAX_STR];
	struct digest d;

	if (v->seen != v->size)
		return error_set(err, 0,
			"the blob ends after %" PRIu64 " of the %" PRIu64
			" bytes that its descriptor states",
			v->seen, v->size);
	hasher_final(v->hasher, &d);
	v->ended = true;
	v->good = digest_equal(&d, &v->digest);
	if (v->good)
		return 0;
	return error_set(err, 0, "the blob's bytes have the digest %s, not %s",
		digest_format(&d, got), digest_format(&v->digest, want));
}

static ssize_t verified_read(struct stream *s, void *buf, size_t len, struct error **err)
{
	struct verified *v = (struct verified *)s;
	ssize_t n;

	if (v->ended)
		return v->good ? 0 : error_set(err, 0, "the blob does not have its digest");
	n = v->in->read(v->in, buf, len, err);
	if (n == 0)
		return verify_end(v, err);
	if (n < 0)
		return n;
	if ((uint64_t)n > v->size - v->seen)
		return error_set(err, 0,
			"the blob is longer than the %" PRIu64 " bytes that its descriptor states",
			v->size);
	v->seen += (uint64_t)n;
	hasher_update(v->hasher, buf, (size_t)n);
	return n;
}

static bool verified_ready(struct stream *s, void (*wake)(void *arg), void *arg)
{
	return stream_ready(((struct verified *)s)->in, wake, arg);
}

static void verified_close(struct stream *s)
{
	struct verified *v = (struct verified *)s;

	v->in->close(v->in);
	hasher_free(v->hasher);
	free(v);
}

struct stream *stream_verify(struct stream *in, const struct digest *digest, uint64_t size)
{
	struct verified *v = xzalloc(sizeof(*v));

	*v = (struct verified){
		.stream = { verified_read, verified_close, verified_ready },
		.in = in,
		.hasher = hasher_new(digest->algo),
		.digest = *digest,
		.size = size,
	};
	return &v->stream;
}
