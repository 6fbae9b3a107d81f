// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/engine/source.h"

/* A stream over a source's read(). */
struct pieces {
	struct stream stream;
	struct blob_source *source;
	const struct digest *blob;
	uint64_t at, end;
};

static ssize_t read_piece(struct stream *stream, void *buf, size_t len, struct error **err)
{
	struct pieces *p = (struct pieces *)stream;
	size_t n = len < p->end - p->at ? len : (size_t)(p->end - p->at);

	if (n && p->source->read(p->source, p->blob, p->at, buf, n, err) < 0)
		return -1;
	p->at += n;
	return (ssize_t)n;
}

int source_stream(struct blob_source *s, const struct digest *blob, uint64_t offset, uint64_t len,
	const struct stream_user *user, struct error **err)
{
	struct pieces p = {
		.stream.read = read_piece,
		.source = s,
		.blob = blob,
		.at = offset,
		.end = offset + len,
	};

	if (s->stream)
		return s->stream(s, blob, offset, len, user, err);
	return user->use(user->arg, &p.stream, err);
}
