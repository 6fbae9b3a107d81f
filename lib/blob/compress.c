// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/blob/compress.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "fmt/erofs.h"
#include "lib/base/interrupt.h"
#include "lib/base/mem.h"

enum { PRIORITY_FEED = 2, BLOCKS_AT_ONCE = 64 };

struct compression {
	struct job job; /* first: jobs are cast back to it */
	struct strand feeder;
	struct blob_flow *flow;
	struct blob_writer *writer;
	int fd;
	uint64_t at, size;
	struct error *unread; /* the feeder's */
	struct error *unwritten; /* the flow's */
};

static void failed(void *arg, struct error *e)
{
	struct compression *c = arg;

	c->unwritten = e;
}

static int feed_some(struct compression *c, struct error **err)
{
	uint8_t buf[BLOCKS_AT_ONCE * EROFS_BLOCK_SIZE];
	uint64_t left = c->size - c->at;
	size_t want = left < sizeof(buf) ? (size_t)left : sizeof(buf);
	ssize_t n = pread(c->fd, buf, want, (off_t)c->at);

	if (n < 0 || (size_t)n != want)
		return error_set(
			err, n < 0 ? errno : 0, "cannot read byte %" PRIu64 " again", c->at);
	for (size_t i = 0; i < want; i += EROFS_BLOCK_SIZE)
		blob_writer_append(c->writer, buf + i, EROFS_BLOCK_SIZE);
	c->at += want;
	return 0;
}

static void feed(struct job *job)
{
	struct compression *c = (struct compression *)job;

	if (interrupt_pending() || feed_some(c, &c->unread) < 0)
		return;
	if (c->at < c->size)
		strand_post(&c->feeder, job);
	else
		blob_writer_finish(c->writer);
}

static void compression_end(struct compression *c)
{
	blob_writer_free(c->writer);
	blob_flow_free(c->flow);
	error_free(c->unread);
	error_free(c->unwritten);
}

struct outfile *blob_compress(struct workers *workers, const struct blob_format *format,
	unsigned max_frames, int fd, uint64_t size, struct outfile *out, struct blob_result *result,
	struct error **err)
{
	CLEANUP(compression_end)
	struct compression c = { .job.run = feed, .fd = fd, .size = size };
	const struct blob_flow_ops ops = {
		.workers = workers, .feeder = &c.feeder, .failed = failed, .arg = &c
	};

	strand_init(&c.feeder, workers, PRIORITY_FEED);
	c.flow = blob_flow_new(&ops, format, max_frames);
	c.writer = blob_writer_new(c.flow, out, false, 0);
	strand_post(&c.feeder, &c.job);
	workers_wait(workers);
	if (c.unread || c.unwritten) {
		*err = c.unread ? take_ptr(c.unread) : take_ptr(c.unwritten);
		return NULL;
	}
	if (c.at < size || interrupt_pending()) {
		error_set(err, 0, "interrupted; nothing has been written");
		return NULL;
	}
	return blob_writer_take(c.writer, result);
}
