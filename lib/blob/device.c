// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/blob/device.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "lib/base/mem.h"

struct device {
	char *name;
	uint64_t size;
	/* Of the way it is stored; the range is one of the device. */
	int (*read)(const struct device *d, uint64_t offset, uint8_t *buf, size_t len,
		struct error **err);
	int fd;
	uint64_t start; /* raw: where the device begins in the file */
};

static int read_raw(
	const struct device *d, uint64_t offset, uint8_t *buf, size_t len, struct error **err)
{
	while (len) {
		ssize_t n = pread(d->fd, buf, len, (off_t)(d->start + offset));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(
				err, errno, "%s: cannot read byte %" PRIu64, d->name, offset);
		if (n == 0)
			return error_set(err, 0, "%s: its file ends before byte %" PRIu64, d->name,
				offset + len);
		buf += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

struct device *device_open_raw(int fd, uint64_t offset, uint64_t size, const char *name)
{
	struct device *d = xzalloc(sizeof(*d));

	*d = (struct device){
		.name = xstrdup(name), .size = size, .read = read_raw, .fd = fd, .start = offset
	};
	return d;
}

void device_close(struct device *d)
{
	if (!d)
		return;
	close(d->fd);
	free(d->name);
	free(d);
}

uint64_t device_size(const struct device *d)
{
	return d->size;
}

int device_read(const struct device *d, uint64_t offset, void *buf, size_t len, struct error **err)
{
	if (offset > d->size || len > d->size - offset)
		return error_set(err, 0,
			"%s: bytes %" PRIu64 " to %" PRIu64
			" reach beyond the end of the device, %" PRIu64,
			d->name, offset, offset + len, d->size);
	return d->read(d, offset, buf, len, err);
}
