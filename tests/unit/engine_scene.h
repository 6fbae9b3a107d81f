/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* How several tests of the engine begin, and what they look at. */
#ifndef TESTS_UNIT_ENGINE_SCENE_H
#define TESTS_UNIT_ENGINE_SCENE_H

#include "tests/unit/engine_fixture.h"

/* One fetcher, who is kept busy with frame 150. */
static inline void begin_busy(struct fixture *f, struct ask *first, size_t gap, unsigned n)
{
	struct engine_options o = options(1, 300000);

	begin(f, n, BLOCKS, &o, 0, true);
	f->fake.source.gap = gap;
	fake_gate(&f->fake, true);
	ask_frame(first, f, 0, 150);
	fake_wait(&f->fake, 1);
}

/* Request n was for these frames of the blob. */
static inline void check_request(
	const struct fixture *f, unsigned n, unsigned blob, uint32_t first, uint32_t last)
{
	struct frame a = frame_of(f, blob, first), z = frame_of(f, blob, last);
	const struct request *r = &f->fake.log[n];

	CHECK_U64(r->blob, blob);
	CHECK_U64(r->offset, a.stored_offset);
	CHECK_U64(r->len, z.stored_offset + z.stored_size - a.stored_offset);
}

#endif
