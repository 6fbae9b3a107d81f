/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * From bytes of a device to frames of the blob that stores it: the chunk index, verified and
 * ready for questions. Looking up is O(log n); the map costs the index's own 48 bytes a frame.
 */
#ifndef BLOB_RANGE_MAP_H
#define BLOB_RANGE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"

enum {
	FRAME_SIZE_MAX = 16 * 1024 * 1024, /* uncompressed; larger frames are refused */
	RANGE_MAP_BYTES_MAX = 256 * 1024 * 1024, /* of an index; larger ones are refused */
};

struct range_map;

/* One frame of a blob. */
struct frame {
	uint32_t number; /* from 0 */
	uint64_t stored_offset; /* bytes in the blob */
	uint32_t stored_size;
	uint64_t offset; /* bytes in the device */
	uint32_t size;
	const uint8_t *sha256; /* of the bytes as stored; the map's */
};

/*
 * `payload` (header and entries, taken over, also on failure; from malloc) must have the SHA-256
 * `want`, be a good chunk index for a blob whose frames end at byte frames_end, and say that the
 * device has device_size bytes (UINT64_MAX: whatever it says). Frames are at most FRAME_SIZE_MAX
 * uncompressed, and no longer as stored than zstd can make such a frame (compressBound and
 * 64 bytes). The error does not name the blob.
 */
struct range_map *range_map_new(uint8_t *payload, size_t len, uint64_t frames_end,
	uint64_t device_size, const struct digest *want, struct error **err);
void range_map_free(struct range_map *m); /* NULL is allowed */

uint64_t range_map_device_size(const struct range_map *m); /* bytes, uncompressed */
uint64_t range_map_stored_size(const struct range_map *m); /* bytes of all frames, without index */
uint32_t range_map_n_frames(const struct range_map *m);
uint32_t range_map_largest(const struct range_map *m); /* frame, uncompressed bytes */
uint32_t range_map_largest_stored(const struct range_map *m);

/* Frame i; i < n_frames. */
struct frame range_map_frame(const struct range_map *m, uint32_t i);

/* The frame that holds the device's byte at `offset`, which is below its size. */
uint32_t range_map_find(const struct range_map *m, uint64_t offset);

/* The frames [*first, *end) that hold [offset, offset + len) of the device. */
int range_map_span(const struct range_map *m, uint64_t offset, uint64_t len, uint32_t *first,
	uint32_t *end, struct error **err);

static inline void cleanup_range_map_(struct range_map **m)
{
	range_map_free(*m);
}

#define CLEANUP_RANGE_MAP CLEANUP(cleanup_range_map_)

#endif
