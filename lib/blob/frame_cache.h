/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The last few decompressed frames of all devices that share the cache. Several threads decode at
 * once, as long as their frames have different slots; who wants the same frame waits for it.
 */
#ifndef BLOB_FRAME_CACHE_H
#define BLOB_FRAME_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/blob/range_map.h"

struct frame_cache;

/* Memory: in each slot twice the largest frame that came there, at most 2 * FRAME_SIZE_MAX. */
struct frame_cache *frame_cache_new(unsigned slots);
void frame_cache_free(struct frame_cache *c); /* after its devices; NULL is allowed */

/* Read f->stored_size bytes at f->stored_offset of the blob into `stored`. */
typedef int (*frame_fetch_fn)(
	void *arg, const struct frame *f, uint8_t *stored, struct error **err);

/*
 * The bytes [at, at + len) of the frame, which lie in it. `owner` tells the frames of one device
 * from those of others: any number that is the device's alone. The error names the frame.
 */
int frame_cache_read(struct frame_cache *c, uint64_t owner, const struct frame *f,
	frame_fetch_fn fetch, void *arg, size_t at, void *buf, size_t len, struct error **err);

/* A number for `owner` that no other device of this cache has. */
uint64_t frame_cache_new_owner(struct frame_cache *c);

static inline void cleanup_frame_cache_(struct frame_cache **c)
{
	frame_cache_free(*c);
}

#define CLEANUP_FRAME_CACHE CLEANUP(cleanup_frame_cache_)

#endif
