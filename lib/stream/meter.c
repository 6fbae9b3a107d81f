// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/stream/meter.h"

#include "lib/base/mem.h"

struct meter {
	struct stream stream;
	struct stream *in;
	_Atomic uint64_t *count;
	atomic_bool *failed;
};

static ssize_t meter_read(struct stream *s, void *buf, size_t len, struct error **err)
{
	struct meter *m = (struct meter *)s;
	ssize_t n = m->in->read(m->in, buf, len, err);

	if (n > 0)
		*m->count += (uint64_t)n;
	if (n < 0 && m->failed)
		atomic_store(m->failed, true);
	return n;
}

static bool meter_ready(struct stream *s, void (*wake)(void *arg), void *arg)
{
	return stream_ready(((struct meter *)s)->in, wake, arg);
}

static void meter_close(struct stream *s)
{
	struct meter *m = (struct meter *)s;

	m->in->close(m->in);
	free(m);
}

struct stream *stream_meter(struct stream *in, _Atomic uint64_t *count, atomic_bool *failed)
{
	struct meter *m = xzalloc(sizeof(*m));

	*m = (struct meter){ { meter_read, meter_close, meter_ready }, in, count, failed };
	return &m->stream;
}
