// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/stream/stream.h"

#include <errno.h>

#include "lib/base/mem.h"

struct file_stream {
	struct stream stream;
	int fd;
	char *name;
};

static ssize_t file_read(struct stream *s, void *buf, size_t len, struct error **err)
{
	struct file_stream *f = (struct file_stream *)s;
	ssize_t n;

	do {
		n = read(f->fd, buf, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? error_set(err, errno, "cannot read %s", f->name) : n;
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
