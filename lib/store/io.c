// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/store/io.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int io_read(int fd, void *p, size_t len, uint64_t offset)
{
	uint8_t *at = p;

	while (len) {
		ssize_t n = pread(fd, at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n < 0 ? errno : EIO;
			return -1;
		}
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int io_write(int fd, const void *p, size_t len, uint64_t offset)
{
	const uint8_t *at = p;

	while (len) {
		ssize_t n = pwrite(fd, at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n < 0 ? errno : EIO;
			return -1;
		}
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int io_sync(int fd)
{
	int rc;

	do
		rc = fdatasync(fd);
	while (rc < 0 && errno == EINTR);
	return rc;
}

void io_push(int fd)
{
	sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* 0: to the end */
}
