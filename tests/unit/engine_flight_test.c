// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Right bytes, each fetched once, in few requests. */
#include "config.h"

#include "tests/unit/engine_scene.h"

struct random_reader {
	pthread_t thread;
	const struct fixture *f;
	uint64_t seed;
	unsigned rounds, errors, wrong;
};

static void *read_randomly(void *arg)
{
	struct random_reader *r = arg;
	uint32_t size = (uint32_t)r->f->samples[0].size;

	for (unsigned i = 0; i < r->rounds; i++) {
		uint32_t at = random_below(&r->seed, size), most = size - at;
		uint32_t len = 1 + random_below(&r->seed, most < 70000 ? most : 70000);

		r->errors += engine_need(r->f->blobs[0], at, len) != 0;
		r->wrong += !is_right(r->f, 0, at, len);
	}
	return NULL;
}

static void sixteen_readers_at_random_get_right_bytes_and_each_frame_is_fetched_once(void)
{
	struct engine_options o = options(6, 200000);
	struct random_reader r[16];
	struct fixture f;

	begin(&f, 1, BLOCKS, &o, 0, true);
	for (unsigned i = 0; i < 16; i++) {
		r[i] = (struct random_reader){ .f = &f, .seed = i, .rounds = 60 };
		pthread_create(&r[i].thread, NULL, read_randomly, &r[i]);
	}
	for (unsigned i = 0; i < 16; i++) {
		pthread_join(r[i].thread, NULL);
		CHECK_U64(r[i].errors, 0);
		CHECK_U64(r[i].wrong, 0);
	}
	CHECK_U64(engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	CHECK(all_right(&f, 0));
	CHECK_U64(stats(&f).frames_fetched, range_map_n_frames(f.samples[0].map));
	CHECK_U64(stats(&f).bytes_fetched, f.samples[0].result.index_offset);
	CHECK_U64(stats(&f).wants, 16 * 60 + 1);
	CHECK_U64(stats(&f).errors, 0);
	end(&f);
}

struct one_reader {
	pthread_t thread;
	const struct fixture *f;
	int error;
};

static void *read_seven(void *arg)
{
	struct one_reader *r = arg;

	r->error = need_frame(r->f, 0, 7);
	return NULL;
}

static void one_fetch_answers_all_who_wait_for_a_frame(void)
{
	struct engine_options o = options(4, 200000);
	struct one_reader r[32];
	struct fixture f;

	begin(&f, 1, BLOCKS, &o, 0, true);
	fake_gate(&f.fake, true);
	for (unsigned i = 0; i < 32; i++) {
		r[i] = (struct one_reader){ .f = &f, .error = -1 };
		pthread_create(&r[i].thread, NULL, read_seven, &r[i]);
	}
	EVENTUALLY(stats(&f).frames_waited == 31);
	fake_gate(&f.fake, false);
	for (unsigned i = 0; i < 32; i++) {
		pthread_join(r[i].thread, NULL);
		CHECK_U64((uint64_t)r[i].error, 0);
	}
	CHECK_U64(fake_requests(&f.fake), 1);
	CHECK_U64(stats(&f).frames_fetched, 1);
	CHECK_U64(stats(&f).hits, 0);
	CHECK_U64((uint64_t)need_frame(&f, 0, 7), 0);
	CHECK_U64(stats(&f).hits, 1);
	end(&f);
}

static void what_lies_beyond_the_end_is_cut(void)
{
	struct engine_options o = options(2, 200000);
	uint64_t size = (BLOCKS + 1) * (uint64_t)BLOCK;
	struct fixture f;

	begin(&f, 1, BLOCKS, &o, 0, true);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], size, 5), 0);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], UINT64_MAX, UINT64_MAX), 0);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 5, 0), 0);
	CHECK_U64(fake_requests(&f.fake), 0);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], size - 1, UINT64_MAX), 0);
	CHECK_U64(stats(&f).frames_fetched, 1);
	CHECK(is_right(&f, 0, size - 1, 1));
	end(&f);
}

static void neighbours_that_come_while_a_frame_waits_are_one_request(void)
{
	static const uint32_t frames[] = { 23, 21, 22, 20 };
	struct ask first, a[4];
	struct fixture f;

	begin_busy(&f, &first, 0, 1);
	for (unsigned i = 0; i < 4; i++)
		ask_frame(&a[i], &f, 0, frames[i]);
	fake_gate(&f.fake, false);
	for (unsigned i = 0; i < 4; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), 0);
	CHECK_U64((uint64_t)ask_wait(&first), 0);
	CHECK(fake_requests(&f.fake) >= 2);
	check_request(&f, 1, 0, 20, 23);
	CHECK(is_right(&f, 0, frame_of(&f, 0, 20).offset, 4 * BLOCK));
	end(&f);
}

static void check_gap(size_t gap, unsigned requests)
{
	struct ask first, a[2];
	struct fixture f;

	begin_busy(&f, &first, gap, 1);
	ask_frame(&a[0], &f, 0, 22);
	ask_frame(&a[1], &f, 0, 20);
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a[0]), 0);
	CHECK_U64((uint64_t)ask_wait(&a[1]), 0);
	CHECK_U64((uint64_t)ask_wait(&first), 0);
	CHECK_U64(fake_requests(&f.fake), requests);
	CHECK_U64((uint64_t)need_frame(&f, 0, 21), 0); /* it has come along, or not */
	CHECK_U64(stats(&f).hits, requests == 2);
	end(&f);
}

static void a_small_gap_is_fetched_to_spare_a_request_and_kept(void)
{
	check_gap(2 * FRAME, 2);
	check_gap(0, 3);
}

static void a_long_run_is_fetched_in_parallel_slices(void)
{
	struct engine_options o = options(4, 70000);
	struct fixture f;
	struct ask a;

	begin(&f, 1, BLOCKS, &o, 0, true);
	fake_gate(&f.fake, true);
	ask(&a, f.blobs[0], 0, UINT64_MAX);
	fake_wait(&f.fake, 4);
	CHECK_U64(fake_requests(&f.fake), 4);
	for (unsigned i = 0; i < 4; i++)
		CHECK(f.fake.log[i].len <= 70000);
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	CHECK(all_right(&f, 0));
	CHECK(fake_requests(&f.fake) < range_map_n_frames(f.samples[0].map) / 2);
	end(&f);
}

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(sixteen_readers_at_random_get_right_bytes_and_each_frame_is_fetched_once);
	RUN(one_fetch_answers_all_who_wait_for_a_frame);
	RUN(what_lies_beyond_the_end_is_cut);
	RUN(neighbours_that_come_while_a_frame_waits_are_one_request);
	RUN(a_small_gap_is_fetched_to_spare_a_request_and_kept);
	RUN(a_long_run_is_fetched_in_parallel_slices);
	return tap_done();
}
