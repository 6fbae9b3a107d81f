/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A device of an image, for reading: what the kernel would see of a blob, whatever way it is
 * stored. The bytes of a raw blob are those of the file: whoever reads them has verified its
 * digest, or does so beside. Those of a compressed one are verified frame by frame.
 */
#ifndef BLOB_DEVICE_H
#define BLOB_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/blob/frame_cache.h"
#include "lib/blob/range_map.h"
#include "lib/stream/stream.h"

struct device;

/*
 * A raw blob: the bytes [offset, offset + size) of a file are the device. Takes the descriptor
 * over; its position does not matter. `name` is for errors: "layer 3 (sha256:ab12...)".
 */
struct device *device_open_raw(int fd, uint64_t offset, uint64_t size, const char *name);

/*
 * A compressed blob, which begins at byte `offset` of a file. Takes the descriptor and the map
 * over, but not the cache, which keeps what was decompressed.
 */
struct device *device_open_zstd(int fd, uint64_t offset, struct range_map *map,
	struct frame_cache *cache, const char *name);

void device_close(struct device *d); /* NULL is allowed */

/* Bytes of the device, uncompressed. */
uint64_t device_size(const struct device *d);

/*
 * All of the bytes [offset, offset + len) of the device into buf; a range that reaches beyond
 * its end is an error. Any number of threads may read at once.
 */
int device_read(const struct device *d, uint64_t offset, void *buf, size_t len, struct error **err);

/* Its bytes from first to last, as a stream, which takes it over. */
struct stream *device_stream(struct device *d);

static inline void cleanup_device_(struct device **d)
{
	device_close(*d);
}

#define CLEANUP_DEVICE CLEANUP(cleanup_device_)

#endif
