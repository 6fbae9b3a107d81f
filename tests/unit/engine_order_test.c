// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Who gets his bytes first, and what is fetched when nobody waits. */
#include "config.h"

#include "tests/unit/engine_scene.h"

/* The second blob, from somewhere else. */
static void add_elsewhere(struct fixture *f, struct fake *elsewhere, uint64_t place)
{
	fake_init(elsewhere, f->samples, 2);
	elsewhere->source.place = place;
	add_blob_from(f, 1, NULL, &elsewhere->source);
}

/* All that it gets stand at the gate; one more is asked for, and must not come there. */
static void a_server_that_hangs_does_not_get_the_last_fetchers(void)
{
	struct engine_options o = options(10, 1); /* each frame alone */
	struct fake elsewhere;
	struct fixture f;
	struct ask a[10];

	begin(&f, 2, BLOCKS, &o, 0, false);
	f.fake.source.place = 7;
	add_blob(&f, 0, NULL);
	add_elsewhere(&f, &elsewhere, 8);
	fake_gate(&f.fake, true);
	for (uint32_t i = 0; i < 10; i++)
		ask_frame(&a[i], &f, 0, i * 10);
	fake_wait(&f.fake, 8);
	for (uint32_t i = 0; i < 20; i++)
		CHECK_U64((uint64_t)need_frame(&f, 1, i * 7), 0);
	CHECK_U64(fake_requests(&f.fake), 8);
	fake_gate(&f.fake, false);
	for (uint32_t i = 0; i < 10; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), 0);
	end(&f);
}

/* What has no server behind it is not held back. */
static void a_source_without_a_server_gets_all_fetchers(void)
{
	struct engine_options o = options(10, 1);
	struct fixture f;
	struct ask a[10];

	begin(&f, 1, BLOCKS, &o, 0, true);
	fake_gate(&f.fake, true);
	for (uint32_t i = 0; i < 10; i++)
		ask_frame(&a[i], &f, 0, i * 10);
	fake_wait(&f.fake, 10);
	fake_gate(&f.fake, false);
	for (uint32_t i = 0; i < 10; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), 0);
	end(&f);
}

static void blobs_take_turns(void)
{
	struct engine_options o = options(1, 70000);
	unsigned of_first = 0;
	struct fixture f;
	struct ask a[2];

	begin(&f, 2, BLOCKS, &o, 0, true);
	fake_gate(&f.fake, true);
	ask(&a[0], f.blobs[0], 0, UINT64_MAX);
	fake_wait(&f.fake, 1);
	ask(&a[1], f.blobs[1], 0, UINT64_MAX);
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a[0]), 0);
	CHECK_U64((uint64_t)ask_wait(&a[1]), 0);
	for (unsigned i = 2; i < 12; i++)
		of_first += f.fake.log[i].blob == 0;
	CHECK_U64(of_first, 5);
	end(&f);
}

static void who_wants_what_waits_to_be_read_ahead_gets_it_in_his_turn(void)
{
	static const uint32_t frames[] = { 150, 12, 100, 13, 120 };
	struct engine_options o = options(1, 100000);
	struct fixture f;
	struct ask a[5];
	unsigned n;

	begin(&f, 1, BLOCKS, &o, 0, true);
	CHECK_U64((uint64_t)need_frame(&f, 0, 10), 0);
	CHECK_U64((uint64_t)need_frame(&f, 0, 11), 0);
	EVENTUALLY(store_blob_has(f.caches[0], 12));
	fake_gate(&f.fake, true);
	ask_frame(&a[0], &f, 0, frames[0]);
	fake_wait(&f.fake, 1);
	n = fake_requests(&f.fake);
	for (unsigned i = 1; i < 5; i++)
		ask_frame(&a[i], &f, 0, frames[i]);
	CHECK(ask_is_done(&a[1])); /* and 13 waits to be read ahead */
	fake_gate(&f.fake, false);
	for (unsigned i = 0; i < 5; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), 0);
	for (unsigned i = 2; i < 5; i++)
		CHECK_U64(f.fake.log[n + i - 2].offset, frame_of(&f, 0, frames[i]).stored_offset);
	end(&f);
}

static void who_wants_overtakes_what_is_fetched_ahead(void)
{
	struct engine_options o = options(1, 70000);
	struct fixture f;
	struct ask a;

	begin(&f, 1, BLOCKS, &o, 0, true);
	fake_gate(&f.fake, true);
	engine_prefetch(f.blobs[0]);
	fake_wait(&f.fake, 1);
	ask_frame(&a, &f, 0, 150);
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	CHECK_U64(f.fake.log[0].offset, 0);
	check_request(&f, 1, 0, 150, 150);
	end(&f);
}

static void prefetching_leaves_a_fetcher_to_who_wants(void)
{
	struct engine_options o = options(4, 70000);
	struct fixture f;
	struct ask a;

	begin(&f, 2, BLOCKS, &o, 0, true);
	fake_gate(&f.fake, true);
	engine_prefetch(f.blobs[0]);
	engine_prefetch(f.blobs[1]);
	fake_wait(&f.fake, 3);
	CHECK_U64(fake_requests(&f.fake), 3);
	ask_frame(&a, &f, 0, 150);
	fake_wait(&f.fake, 4); /* or hang here */
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	end(&f);
}

static void prefetching_completes_a_blob(void)
{
	struct engine_options o = options(3, 70000);
	struct fixture f;

	begin(&f, 2, BLOCKS, &o, 0, true);
	f.fake.fail = 4; /* it gets over that */
	engine_prefetch(f.blobs[0]);
	engine_prefetch(f.blobs[1]);
	EVENTUALLY(served_blob_is_complete(f.blobs[0]) && served_blob_is_complete(f.blobs[1]));
	CHECK(all_right(&f, 0) && all_right(&f, 1));
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	CHECK_U64(stats(&f).hits, 1);
	remove_blob(&f, 0);
	add_blob(&f, 0, NULL); /* the store has it */
	CHECK(served_blob_is_complete(f.blobs[0]));
	CHECK_U64(stats(&f).frames_fetched,
		range_map_n_frames(f.samples[0].map) + range_map_n_frames(f.samples[1].map));
	end(&f);
}

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(a_server_that_hangs_does_not_get_the_last_fetchers);
	RUN(a_source_without_a_server_gets_all_fetchers);
	RUN(blobs_take_turns);
	RUN(who_wants_what_waits_to_be_read_ahead_gets_it_in_his_turn);
	RUN(who_wants_overtakes_what_is_fetched_ahead);
	RUN(prefetching_leaves_a_fetcher_to_who_wants);
	RUN(prefetching_completes_a_blob);
	return tap_done();
}
