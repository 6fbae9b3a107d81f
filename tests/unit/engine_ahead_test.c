// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Readers who go on, and readers who jump. */
#include "config.h"

#include "tests/unit/engine_fixture.h"

static void who_reads_on_finds_it_there(void)
{
	struct engine_options o = options(3, 150000);
	struct engine_stats before;
	struct fixture f;
	uint32_t n;

	begin(&f, 1, BLOCKS, &o, 0, true);
	n = range_map_n_frames(f.samples[0].map);
	for (uint32_t i = 1; i < n; i++) {
		if (i == 4)
			before = stats(&f);
		if (i > 3) /* as a reader who takes his time */
			EVENTUALLY(store_blob_has(f.caches[0], i));
		CHECK_U64((uint64_t)need_frame(&f, 0, i), 0);
	}
	CHECK_U64(stats(&f).hits - before.hits, n - 4);
	CHECK(fake_requests(&f.fake) < n / 3);
	CHECK(is_right(&f, 0, BLOCK, f.samples[0].size - BLOCK));
	end(&f);
}

static void who_jumps_gets_what_he_asks_for_and_no_more(void)
{
	struct engine_options o = options(3, 150000);
	struct fixture f;

	begin(&f, 1, BLOCKS, &o, 0, true);
	for (uint32_t i = 0; i < 20; i++)
		CHECK_U64((uint64_t)need_frame(&f, 0, 1 + i * 77 % 190), 0);
	CHECK_U64(stats(&f).frames_fetched, 20);
	CHECK_U64(fake_requests(&f.fake), 20);
	end(&f);
}

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(who_reads_on_finds_it_there);
	RUN(who_jumps_gets_what_he_asks_for_and_no_more);
	return tap_done();
}
