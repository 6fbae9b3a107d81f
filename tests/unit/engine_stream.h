/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * An engine whose source gives streams that stand where a test says, in a store that is as full as
 * it says (linked with --wrap=store_blob_reserve,--wrap=store_blob_reserve_spare).
 */
#ifndef TESTS_UNIT_ENGINE_STREAM_H
#define TESTS_UNIT_ENGINE_STREAM_H

#include <stdatomic.h>

#include "lib/serve/engine/part.h"
#include "tests/unit/engine_fixture.h"

#define FLOWS UINT64_MAX

enum {
	SLICE = 150 * 1000, /* some nine frames */
	A_FRAME_AND_A_BIT = 20 * 1000,
	ALL = 16 * 1024 * 1024, /* more than a sample has */
	FETCHERS = 4, /* of which prefetching gets three */
};

/* --- space --- */

static _Atomic uint64_t reserved; /* bytes, of all blobs */
static _Atomic uint64_t space = UINT64_MAX; /* bytes that are left */

int __real_store_blob_reserve(struct store_blob *b, uint64_t bytes, struct error **err);
int __wrap_store_blob_reserve(struct store_blob *b, uint64_t bytes, struct error **err);
int __wrap_store_blob_reserve_spare(struct store_blob *b, uint64_t bytes, struct error **err);

int __wrap_store_blob_reserve(struct store_blob *b, uint64_t bytes, struct error **err)
{
	if (bytes > space)
		return error_set(err, ENOSPC, "the store is full");
	if (space != UINT64_MAX)
		space -= bytes;
	reserved += bytes;
	return __real_store_blob_reserve(b, bytes, err);
}

/* Here nothing is kept for readers. */
int __wrap_store_blob_reserve_spare(struct store_blob *b, uint64_t bytes, struct error **err)
{
	return __wrap_store_blob_reserve(b, bytes, err);
}

static inline unsigned busy(const struct fixture *f)
{
	struct engine *e = f->engine;
	unsigned n;

	pthread_mutex_lock(&e->lock);
	n = e->busy[DEMAND] + e->busy[AHEAD] + e->busy[PREFETCH];
	pthread_mutex_unlock(&e->lock);
	return n;
}

/* Of a fixture's only blob: what is reserved is written, or waits to be. */
static inline void check_room(const struct fixture *f)
{
	EVENTUALLY(busy(f) == 0);
	CHECK_U64(reserved, f->blobs[0]->room.bytes + f->blobs[0]->cached);
}

/* --- scenes --- */

static inline uint64_t end_of(const struct fixture *f, unsigned blob, uint32_t i)
{
	struct frame frame = frame_of(f, blob, i);

	return frame.stored_offset + frame.stored_size;
}

static inline uint32_t n_frames(const struct fixture *f, unsigned blob)
{
	return range_map_n_frames(f->samples[blob].map);
}

/* The last frame that a stream at the beginning is waited for. */
static inline uint32_t last_near(const struct fixture *f)
{
	uint32_t i = 0;

	while (frame_of(f, 0, i + 1).stored_offset <= SLICE)
		i++;
	return i;
}

static inline bool has(const struct fixture *f, uint32_t i)
{
	return store_blob_has(f->caches[0], i);
}

static inline void begin_streams(
	struct fixture *f, unsigned n, unsigned fetchers, size_t stream, uint64_t flow)
{
	struct engine_options o = options(fetchers, SLICE);

	o.stream_bytes = stream;
	reserved = 0;
	begin(f, n, BLOCKS, &o, 0, true);
	fake_streams(&f->fake, flow);
}

/* All of the blob is one stream, which has given nothing so far. */
static inline void begin_one(struct fixture *f)
{
	begin_streams(f, 1, FETCHERS, ALL, 0);
	engine_prefetch(f->blobs[0]);
	fake_wait_standing(&f->fake, 1);
}

static inline void check_request(
	const struct fixture *f, unsigned n, bool streams, uint32_t first, uint32_t last)
{
	const struct request *r = &f->fake.log[n];

	CHECK_U64(r->streams, streams);
	CHECK_U64(r->offset, frame_of(f, 0, first).stored_offset);
	CHECK_U64(r->offset + r->len, end_of(f, 0, last));
}

static inline void wait_complete(const struct fixture *f)
{
	EVENTUALLY(served_blob_is_complete(f->blobs[0]));
	CHECK(all_right(f, 0));
}

#endif
