// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/stream/stream.h"

#include <errno.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"

struct file_stream {
	struct stream stream;
	int fd;
	char *name;
	uint64_t at, left; /* of a range */
};

static ssize_t file_read(struct stream *s, void *buf, size_t len, struct error **err)
{
	struct file_stream *f = (struct file_stream *)s;
	ssize_t n;

	do {
		n = read(f->fd, buf, len);
	} while (n < 0 && errno == EINTR && !interrupt_pending());
	if (n < 0 && errno == EINTR)
		return error_set(err, 0, "reading %s was interrupted", f->name);
	return n < 0 ? error_set(err, errno, "cannot read %s", f->name) : n;
}

static ssize_t range_read(struct stream *s, void *buf, size_t len, struct error **err)
{
	struct file_stream *f = (struct file_stream *)s;
	ssize_t n;

	if (!f->left)
		return 0;
	do {
		n = pread(f->fd, buf, len < f->left ? len : (size_t)f->left, (off_t)f->at);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_set(err, errno, "cannot read %s", f->name);
	if (n == 0)
		return error_set(err, 0, "%s: its file became shorter while it was read", f->name);
	f->at += (uint64_t)n;
	f->left -= (uint64_t)n;
	return n;
}

static void file_close(struct stream *s)
{
	struct file_stream *f = (struct file_stream *)s;

	close(f->fd);
	free(f->name);
	free(f);
}

struct stream *stream_from_fd(int fd, const char *name)
{
	struct file_stream *f = xzalloc(sizeof(*f));

	f->stream = (struct stream){ .read = file_read, .close = file_close };
	f->fd = fd;
	f->name = xstrdup(name);
	return &f->stream;
}

struct stream *stream_from_range(int fd, uint64_t offset, uint64_t size, const char *name)
{
	struct stream *s = stream_from_fd(fd, name);
	struct file_stream *f = (struct file_stream *)s;

	s->read = range_read;
	f->at = offset;
	f->left = size;
	return s;
}
