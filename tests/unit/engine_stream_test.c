// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What nobody waits for comes as streams: frame by frame, and who is in a hurry overtakes them.
 */
#include "config.h"

#include "tests/unit/engine_stream.h"

static void each_frame_is_there_when_its_bytes_are(void)
{
	struct fixture f;
	struct ask a;

	begin_one(&f);
	ask_frame(&a, &f, 0, 5);
	fake_flow(&f.fake, end_of(&f, 0, 5), 0, 0);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	CHECK(is_right(&f, 0, 0, frame_of(&f, 0, 6).offset));
	CHECK(has(&f, 0) && !has(&f, 6));
	fake_flow(&f.fake, FLOWS, 0, 0);
	wait_complete(&f);
	CHECK_U64(fake_requests(&f.fake), 1);
	check_request(&f, 0, true, 0, n_frames(&f, 0) - 1);
	CHECK_U64(stats(&f).requests, 1);
	CHECK_U64(stats(&f).frames_fetched, n_frames(&f, 0));
	CHECK_U64(stats(&f).bytes_fetched, end_of(&f, 0, n_frames(&f, 0) - 1));
	CHECK_U64(stats(&f).errors, 0);
	check_room(&f);
	end(&f);
}

static void what_a_slice_holds_is_no_stream(void)
{
	struct fixture f;

	begin_streams(&f, 1, FETCHERS, SLICE, FLOWS);
	engine_prefetch(f.blobs[0]);
	wait_complete(&f);
	CHECK_U64(f.fake.streams_most, 0);
	end(&f);
}

static void who_waits_asks_for_no_stream(void)
{
	struct fixture f;

	begin_streams(&f, 1, FETCHERS, ALL, FLOWS);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	CHECK_U64(f.fake.streams_most, 0);
	CHECK(all_right(&f, 0));
	end(&f);
}

static void what_a_stream_has_far_to_go_to_is_asked_for_alone(void)
{
	struct fixture f;
	struct ask near;
	uint32_t n;

	begin_one(&f);
	n = last_near(&f);
	CHECK_U64((uint64_t)need_frame(&f, 0, n + 1), 0);
	CHECK_U64((uint64_t)need_frame(&f, 0, n_frames(&f, 0) - 1), 0);
	ask_frame(&near, &f, 0, n);
	CHECK(!ask_is_done(&near));
	check_request(&f, 1, false, n + 1, n + 1);
	check_request(&f, 2, false, n_frames(&f, 0) - 1, n_frames(&f, 0) - 1);
	fake_flow(&f.fake, FLOWS, 0, 0);
	CHECK_U64((uint64_t)ask_wait(&near), 0);
	wait_complete(&f);
	CHECK_U64(fake_requests(&f.fake), 3);
	CHECK_U64(stats(&f).requests, 3);
	CHECK_U64(stats(&f).frames_fetched, n_frames(&f, 0));
	CHECK_U64(stats(&f).bytes_fetched, /* it need not come to what is there at its end */
		end_of(&f, 0, n_frames(&f, 0) - 2) + frame_of(&f, 0, n + 1).stored_size +
			frame_of(&f, 0, n_frames(&f, 0) - 1).stored_size);
	check_room(&f);
	end(&f);
}

/* All that lies between is there: where the stream is says nothing of what it will give next. */
static void what_lies_far_behind_a_gap_is_far(void)
{
	struct fixture f;
	struct ask a;
	uint32_t n;

	begin_one(&f);
	n = last_near(&f);
	for (uint32_t i = 59; i > n; i--) /* so that nothing is read ahead */
		CHECK_U64((uint64_t)need_frame(&f, 0, i), 0);
	ask_frame(&a, &f, 0, n);
	fake_flow(&f.fake, end_of(&f, 0, n) + 1, 0, 0);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	fake_wait_standing(&f.fake, 1);
	CHECK_U64((uint64_t)need_frame(&f, 0, 60), 0); /* or hang here */
	fake_flow(&f.fake, FLOWS, 0, 0);
	wait_complete(&f);
	end(&f);
}

/* --- several --- */

/* Where the streams begin that have been asked for so far, in order. */
static void find_streams(struct fixture *f, uint32_t *first, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t frame = 0;
		unsigned at = i;

		while (frame_of(f, 0, frame).stored_offset < f->fake.log[i].offset)
			frame++;
		for (; at && first[at - 1] > frame; at--)
			first[at] = first[at - 1];
		first[at] = frame;
	}
}

/* Three streams, each in its second frame, and one who waits for what is far from them. */
static void begin_waiting(struct fixture *f, uint32_t *first, struct ask *a)
{
	begin_streams(f, 1, FETCHERS, 400 * 1000, A_FRAME_AND_A_BIT);
	engine_prefetch(f->blobs[0]);
	fake_wait_standing(&f->fake, 3);
	find_streams(f, first, 3);
	fake_gate(&f->fake, true);
	ask_frame(a, f, 0, n_frames(f, 0) - 1);
	fake_wait(&f->fake, 1);
}

static void while_somebody_waits_only_the_first_stream_goes_on(void)
{
	struct fixture f;
	uint32_t at[3];
	struct ask a;
	uint64_t began, own;

	begin_waiting(&f, at, &a);
	own = end_of(&f, 0, at[0] + 9) - frame_of(&f, 0, at[0]).stored_offset;
	began = engine_now();
	fake_flow(&f.fake, FLOWS, frame_of(&f, 0, at[0]).stored_offset, own);
	EVENTUALLY(has(&f, at[0] + 9) && has(&f, at[1] + 1) && has(&f, at[2] + 1));
	usleep(100 * 1000); /* in which they would go on */
	if (!CHECK(!has(&f, at[1] + 2) && !has(&f, at[2] + 2)))
		printf("# after %llu us\n", (unsigned long long)(engine_now() - began));
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	EVENTUALLY(has(&f, at[2] - 1) && has(&f, at[2] + 20)); /* and the first one still stands */
	CHECK(!has(&f, at[0] + 10));
	fake_flow(&f.fake, FLOWS, 0, 0);
	wait_complete(&f);
	end(&f);
}

/* He is no less in a hurry than who waits for a request of his own. */
static void who_waits_for_a_stream_lets_nobody_go_first(void)
{
	struct ask a, b;
	struct fixture f;
	uint32_t at[3];
	uint64_t began;

	begin_waiting(&f, at, &a);
	fake_flow(&f.fake, FLOWS, frame_of(&f, 0, at[0]).stored_offset, A_FRAME_AND_A_BIT);
	EVENTUALLY(has(&f, at[1] + 1) && has(&f, at[2] + 1));
	began = engine_now();
	ask_frame(&b, &f, 0, at[2] + 4);
	CHECK_U64((uint64_t)ask_wait(&b), 0);
	CHECK(engine_now() - began < 4000000); /* at once; a pause is five seconds */
	CHECK(!ask_is_done(&a));
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	fake_flow(&f.fake, FLOWS, 0, 0);
	wait_complete(&f);
	end(&f);
}

static struct range_map *open_index(void *arg, struct blob_source *source, struct error **err)
{
	const struct fixture *f = arg;

	(void)source, (void)err;
	return sample_map(&f->samples[2]);
}

/* Five are prefetching, four of them with a stream. */
static void check_four(struct fixture *f, unsigned blob)
{
	fake_gate(&f->fake, true);
	fake_flow(&f->fake, A_FRAME_AND_A_BIT, 0, 0);
	engine_prefetch(f->blobs[blob]);
	fake_wait_standing(&f->fake, 4); /* or hang here */
	fake_wait(&f->fake, 1);
	CHECK_U64(f->fake.streams_most, 4);
	CHECK_U64(f->engine->streams, 4);
}

static void no_more_than_four_streams_come_at_once(void)
{
	struct fixture f;

	log_set_level(LOG_QUIET);
	begin_streams(&f, 4, 10, 2 * SLICE, A_FRAME_AND_A_BIT);
	check_four(&f, 3);
	remove_blob(&f, 3); /* as they stand */
	fake_gate(&f.fake, false);
	fake_flow(&f.fake, 0, 0, 0);
	f.fake.break_n = 4;
	f.fake.break_code = EHOSTUNREACH;
	f.fake.break_after = A_FRAME_AND_A_BIT;
	engine_prefetch(f.blobs[1]);
	fake_wait_standing(&f.fake, 4);
	fake_flow(&f.fake, FLOWS, 0, 0);
	EVENTUALLY(busy(&f) == 0); /* all have broken */
	remove_blob(&f, 1); /* as it rests */
	remove_blob(&f, 2);
	add_blob(&f, 2, open_index);
	engine_prefetch(f.blobs[2]);
	EVENTUALLY(served_blob_is_complete(f.blobs[2]));
	EVENTUALLY(busy(&f) == 0);
	CHECK_U64(f.engine->streams, 0);
	check_four(&f, 0);
	fake_gate(&f.fake, false);
	fake_flow(&f.fake, FLOWS, 0, 0);
	wait_complete(&f);
	CHECK_U64(f.fake.streams_most, 4);
	end(&f);
	log_set_level(LOG_NORMAL);
}

static void a_blob_goes_while_its_streams_let_others_go_first(void)
{
	uint64_t first, began;
	struct fixture f;
	uint32_t at[3];
	struct ask a;

	begin_streams(&f, 2, FETCHERS, 400 * 1000, A_FRAME_AND_A_BIT);
	engine_prefetch(f.blobs[0]);
	fake_wait_standing(&f.fake, 3);
	find_streams(&f, at, 3);
	first = frame_of(&f, 0, at[0]).stored_offset;
	fake_gate(&f.fake, true);
	ask_frame(&a, &f, 1, 0);
	fake_wait(&f.fake, 1);
	fake_flow(&f.fake, FLOWS, first, A_FRAME_AND_A_BIT);
	EVENTUALLY(has(&f, at[1] + 1) && has(&f, at[2] + 1));
	began = engine_now();
	remove_blob(&f, 0);
	CHECK(engine_now() - began < 4000000); /* at once; a pause is five seconds */
	CHECK_U64(f.fake.streams, 0);
	CHECK(!ask_is_done(&a));
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	end(&f);
}

/* For him it is as if there were no stream. */
static void who_reads_far_from_a_stream_is_read_ahead_for(void)
{
	enum { FROM = 60, N = 100 };
	struct fixture f;

	begin_one(&f);
	fake_flow(&f.fake, FLOWS, 0, 1); /* but that one stands */
	for (uint32_t i = FROM; i < FROM + N; i++)
		CHECK_U64((uint64_t)need_frame(&f, 0, i), 0);
	CHECK(fake_requests(&f.fake) < N / 2);
	fake_flow(&f.fake, FLOWS, 0, 0);
	wait_complete(&f);
	CHECK_U64(stats(&f).frames_fetched, n_frames(&f, 0));
	end(&f);
}

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(each_frame_is_there_when_its_bytes_are);
	RUN(what_a_slice_holds_is_no_stream);
	RUN(who_waits_asks_for_no_stream);
	RUN(what_a_stream_has_far_to_go_to_is_asked_for_alone);
	RUN(what_lies_far_behind_a_gap_is_far);
	RUN(who_reads_far_from_a_stream_is_read_ahead_for);
	RUN(while_somebody_waits_only_the_first_stream_goes_on);
	RUN(who_waits_for_a_stream_lets_nobody_go_first);
	RUN(no_more_than_four_streams_come_at_once);
	RUN(a_blob_goes_while_its_streams_let_others_go_first);
	return tap_done();
}
