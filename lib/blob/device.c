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
	uint64_t start; /* where the blob begins in the file */
	/* compressed: */
	struct range_map *map;
	struct frame_cache *cache; /* the caller's */
	uint64_t owner; /* there */
};

static int read_file(
	const struct device *d, uint64_t offset, uint8_t *buf, size_t len, struct error **err)
{
	while (len) {
		ssize_t n = pread(d->fd, buf, len, (off_t)(d->start + offset));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "cannot read byte %" PRIu64, offset);
		if (n == 0)
			return error_set(
				err, 0, "its file ends before byte %" PRIu64, offset + len);
		buf += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int fetch(void *arg, const struct frame *f, uint8_t *stored, struct error **err)
{
	return read_file((const struct device *)arg, f->stored_offset, stored, f->stored_size, err);
}

static int read_zstd(
	const struct device *d, uint64_t offset, uint8_t *buf, size_t len, struct error **err)
{
	uint32_t i, end;

	if (range_map_span(d->map, offset, len, &i, &end, err) < 0)
		return -1;
	for (; i < end; i++) {
		struct frame f = range_map_frame(d->map, i);
		size_t at = (size_t)(offset - f.offset);
		size_t n = len < f.size - at ? len : f.size - at;

		if (frame_cache_read(d->cache, d->owner, &f, fetch, (void *)d, at, buf, n, err) < 0)
			return -1;
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

struct device *device_open_raw(int fd, uint64_t offset, uint64_t size, const char *name)
{
	struct device *d = xzalloc(sizeof(*d));

	*d = (struct device){
		.name = xstrdup(name), .size = size, .read = read_file, .fd = fd, .start = offset
	};
	return d;
}

struct device *device_open_zstd(
	int fd, uint64_t offset, struct range_map *map, struct frame_cache *cache, const char *name)
{
	struct device *d = device_open_raw(fd, offset, range_map_device_size(map), name);

	d->read = read_zstd;
	d->map = map;
	d->cache = cache;
	d->owner = frame_cache_new_owner(cache);
	return d;
}

void device_close(struct device *d)
{
	if (!d)
		return;
	range_map_free(d->map);
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
	return d->read(d, offset, buf, len, err) < 0 ? error_wrap(err, "%s", d->name) : 0;
}

struct device_reader {
	struct stream stream;
	struct device *device;
	uint64_t at;
};

static ssize_t device_reader_read(struct stream *s, void *buf, size_t len, struct error **err)
{
	struct device_reader *r = (struct device_reader *)s;
	uint64_t left = r->device->size - r->at;
	size_t n = len < left ? len : (size_t)left;

	if (n && device_read(r->device, r->at, buf, n, err) < 0)
		return -1;
	r->at += n;
	return (ssize_t)n;
}

static void device_reader_close(struct stream *s)
{
	struct device_reader *r = (struct device_reader *)s;

	device_close(r->device);
	free(r);
}

struct stream *device_stream(struct device *d)
{
	struct device_reader *r = xzalloc(sizeof(*r));

	*r = (struct device_reader){ { .read = device_reader_read, .close = device_reader_close },
		d, 0 };
	return &r->stream;
}
