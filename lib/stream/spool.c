// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/stream/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"

enum { BUFFER_SIZE = 256 * 1024 };

const char *spool_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir ? dir : "/var/tmp";
}

static int open_temporary(const char *dir, struct error **err)
{
	CLEANUP_FREE char *path = xasprintf("%s/erofs-convert-XXXXXX", dir);
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
	}
	if (fd >= 0)
		return fd;
	error_set(err, errno, "cannot make a temporary file in %s", dir);
	return error_hint(err, "set TMPDIR to a directory that can be written to");
}

static int write_all(int fd, const char *p, size_t len, const char *dir, struct error **err)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			error_set(err, errno, "cannot write to a temporary file in %s", dir);
			return error_hint(err, "set TMPDIR to a directory with more room");
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int stream_spool(struct stream *in, uint64_t *size, struct error **err)
{
	const char *dir = spool_dir();
	CLEANUP_FD int fd = open_temporary(dir, err);
	CLEANUP_FREE char *buf = xmalloc(BUFFER_SIZE);
	ssize_t n = 0;

	if (fd < 0)
		return -1;
	for (*size = 0; !interrupt_pending(); *size += (uint64_t)n) {
		n = in->read(in, buf, BUFFER_SIZE, err);
		if (n < 0 || write_all(fd, buf, (size_t)n, dir, err) < 0)
			return -1;
		if (n == 0)
			return take_fd(&fd);
	}
	return error_set(err, 0, "interrupted; nothing has been written");
}

int spool_bytes(const void *p, size_t len, struct error **err)
{
	const char *dir = spool_dir();
	CLEANUP_FD int fd = open_temporary(dir, err);

	if (fd < 0 || write_all(fd, p, len, dir, err) < 0)
		return -1;
	return take_fd(&fd);
}
