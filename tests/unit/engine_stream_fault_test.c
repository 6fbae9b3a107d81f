// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Streams that break, lie, find no room, and are given up. */
#include "config.h"

#include <limits.h>

#include "lib/serve/blob_ways.h"
#include "lib/serve/engine/sources.h"
#include "tests/unit/engine_stream.h"

enum { OF_FRAME_5 = 8000 }; /* bytes, before a stream breaks */

/* --- two sources --- */

static void stay_open(struct blob_source *source)
{
	(void)source; /* it is the fixture's */
}

/* The fixture's source, and another one, whose streams stand. */
static void begin_two(struct fixture *f, struct fake *other, size_t stream)
{
	struct engine_options o = options(FETCHERS, SLICE);

	o.stream_bytes = stream;
	begin(f, 1, BLOCKS, &o, 0, false);
	fake_streams(&f->fake, FLOWS);
	fake_init(other, f->samples, 1);
	fake_streams(other, 0);
	other->source.close = f->fake.source.close = stay_open;
}

/* Of two images, which each have one of them; the other one is asked first. */
static void begin_ways(struct fixture *f, struct fake *other, struct blob_ways *ways)
{
	blob_ways_init(ways, &f->samples[0].result.digest);
	blob_ways_add(ways, &other->source);
	blob_ways_add(ways, &f->fake.source);
	add_blob_from(f, 0, NULL, &ways->source);
	engine_prefetch(f->blobs[0]);
}

static void end_ways(struct fixture *f, struct blob_ways *ways)
{
	remove_blob(f, 0);
	blob_ways_end(ways);
	end(f);
}

/* A stream that breaks after half of frame 5, and what comes of those who wait. */
static void begin_breaking(struct fixture *f, int code)
{
	struct ask got, lost;

	begin_streams(f, 1, FETCHERS, ALL, 0);
	f->fake.break_n = 1;
	f->fake.break_code = code;
	f->fake.break_after = frame_of(f, 0, 5).stored_offset + OF_FRAME_5;
	engine_prefetch(f->blobs[0]);
	fake_wait_standing(&f->fake, 1);
	ask_frame(&got, f, 0, 3);
	ask_frame(&lost, f, 0, 7);
	fake_flow(&f->fake, FLOWS, 0, 0);
	CHECK_U64((uint64_t)ask_wait(&got), 0);
	CHECK_U64((uint64_t)ask_wait(&lost), 0);
	check_request(f, 1, false, 7, 7);
	CHECK(is_right(f, 0, frame_of(f, 0, 7).offset, frame_of(f, 0, 7).size));
}

/* What lies before frame 7, and what lies behind it; and of frame 5, what came in vain: which is no
 * error, for nothing failed for good. */
static void check_broken(struct fixture *f)
{
	wait_complete(f);
	EVENTUALLY(busy(f) == 0);
	CHECK_U64(fake_requests(&f->fake), 4);
	CHECK_U64(stats(f).requests, 4);
	CHECK_U64(stats(f).errors, 0);
	CHECK_U64(stats(f).frames_fetched, n_frames(f, 0));
	CHECK_U64(stats(f).bytes_fetched, end_of(f, 0, n_frames(f, 0) - 1) + OF_FRAME_5);
	CHECK_U64(f->fake.blamed, 0);
	CHECK_U64(f->fake.streams, 0);
	end(f);
}

static void what_a_broken_stream_has_not_given_is_asked_for_again(void)
{
	struct fixture error, end, given_up, image; /* each pauses for a while */
	struct blob_ways ways;
	struct fake other;

	log_set_level(LOG_QUIET);
	begin_breaking(&error, EHOSTUNREACH);
	begin_breaking(&end, 0);
	begin_breaking(&given_up, ECANCELED);
	begin_two(&image, &other, ALL);
	other.break_n = other.fail = UINT_MAX;
	other.break_code = EHOSTUNREACH;
	fake_flow(&other, FLOWS, 0, 0);
	begin_ways(&image, &other, &ways);
	check_broken(&error);
	check_broken(&end);
	check_broken(&given_up);
	wait_complete(&image); /* though who is asked first never answers */
	end_ways(&image, &ways);
	log_set_level(LOG_NORMAL);
}

/* Of frame 5, once; frames 5 and 6 are waited for. */
static void get_wrong_bytes(struct fixture *f)
{
	struct ask five, six;

	f->fake.corrupt = frame_of(f, 0, 5).stored_offset + 100;
	f->fake.n_corrupt = 1;
	ask_frame(&five, f, 0, 5);
	ask_frame(&six, f, 0, 6);
	fake_flow(&f->fake, FLOWS, 0, 0);
	CHECK_U64((uint64_t)ask_wait(&five), 0);
	CHECK_U64((uint64_t)ask_wait(&six), 0);
	wait_complete(f);
}

static void wrong_bytes_in_a_stream_are_asked_for_again(void)
{
	struct fixture f;

	begin_one(&f);
	get_wrong_bytes(&f);
	CHECK_U64(f.fake.blamed, 1);
	CHECK_U64(stats(&f).bad_frames, 1);
	CHECK_U64(stats(&f).recovered, 1);
	CHECK_U64(stats(&f).errors, 0);
	CHECK_U64(fake_requests(&f.fake), 2);
	check_request(&f, 1, false, 5, 5);
	check_room(&f);
	end(&f);
}

/* What the stream would still have given is asked for once more, too. */
static void wrong_bytes_in_a_stream_are_waited_for_as_long_as_any(void)
{
	struct fixture f;

	log_set_level(LOG_QUIET);
	begin_one(&f);
	f.fake.fail = 1;
	f.fake.fail_code = EAGAIN;
	get_wrong_bytes(&f);
	CHECK_U64(stats(&f).bad_frames, 1);
	CHECK_U64(stats(&f).errors, 0);
	check_room(&f);
	end(&f);
	log_set_level(LOG_NORMAL);
}

static void a_frame_that_stays_wrong_is_an_error_and_no_other_is(void)
{
	struct ask five, six;
	struct fixture f;

	log_set_level(LOG_QUIET);
	begin_one(&f);
	f.fake.corrupt = frame_of(&f, 0, 5).stored_offset + 100;
	f.fake.n_corrupt = 2;
	ask_frame(&five, &f, 0, 5);
	ask_frame(&six, &f, 0, 6);
	fake_flow(&f.fake, FLOWS, 0, 0);
	CHECK_U64((uint64_t)ask_wait(&five), EIO);
	CHECK_U64((uint64_t)ask_wait(&six), 0);
	EVENTUALLY(has(&f, n_frames(&f, 0) - 1));
	CHECK_U64(stats(&f).errors, 1);
	CHECK_U64(stats(&f).bad_frames, 2);
	CHECK_U64(fake_requests(&f.fake), 2);
	check_room(&f);
	CHECK_U64((uint64_t)need_frame(&f, 0, 5), 0);
	CHECK(all_right(&f, 0));
	end(&f);
	log_set_level(LOG_NORMAL);
}

static void who_waits_for_a_stream_waits_for_space(void)
{
	enum { FITS = 5 };
	struct ask here, there;
	struct fixture f;

	log_set_level(LOG_QUIET);
	begin_one(&f); /* only to see how large frames are */
	space = frame_of(&f, 0, FITS).offset;
	fake_flow(&f.fake, FLOWS, 0, 0);
	end(&f);
	begin_one(&f);
	ask_frame(&here, &f, 0, FITS - 1);
	ask_frame(&there, &f, 0, FITS + 3);
	fake_flow(&f.fake, FLOWS, 0, 0);
	CHECK_U64((uint64_t)ask_wait(&here), 0);
	EVENTUALLY(stats(&f).errors > 1); /* it has been tried again */
	CHECK(!ask_is_done(&there));
	CHECK_U64(store_blob_present(f.caches[0]), FITS);
	CHECK_U64(f.fake.streams, 0);
	space = UINT64_MAX;
	CHECK_U64((uint64_t)ask_wait(&there), 0);
	CHECK_U64(stats(&f).no_space, 0);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	CHECK(all_right(&f, 0));
	check_room(&f);
	end(&f);
	log_set_level(LOG_NORMAL);
}

/* --- sources that are made of others --- */

/* The first one lies all the time: nobody who waits shall notice. */
static void check_liar(struct fixture *f, struct fake *liar)
{
	struct ask a[3];

	fake_wait_standing(liar, 1);
	for (uint32_t i = 0; i < 3; i++)
		ask_frame(&a[i], f, 0, 3 + i);
	fake_flow(liar, FLOWS, 0, 0);
	for (uint32_t i = 0; i < 3; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), 0);
	wait_complete(f);
	CHECK_U64(f->fake.blamed, 0);
	CHECK(liar->blamed > 0);
	CHECK_U64(stats(f).errors, 0);
}

static void begin_liar(struct fixture *f, struct fake *liar)
{
	begin_two(f, liar, ALL);
	liar->liar = true;
}

static void one_mirror_lies_and_the_next_is_asked(void)
{
	struct blob_source *chain;
	struct fixture f;
	struct fake liar;

	begin_liar(&f, &liar);
	chain = source_chain_new((struct blob_source *[]){ &liar.source, &f.fake.source }, 2);
	add_blob_from(&f, 0, NULL, chain);
	engine_prefetch(f.blobs[0]);
	check_liar(&f, &liar);
	remove_blob(&f, 0);
	chain->close(chain);
	end(&f);
}

static void one_image_brings_a_liar_and_another_does_not(void)
{
	struct blob_ways ways;
	struct fixture f;
	struct fake liar;

	begin_liar(&f, &liar);
	begin_ways(&f, &liar, &ways);
	check_liar(&f, &liar);
	end_ways(&f, &ways);
}

static void an_image_that_goes_takes_its_stream_with_it(void)
{
	struct blob_ways ways;
	struct fixture f;
	struct fake other;

	begin_two(&f, &other, 2 * SLICE);
	begin_ways(&f, &other, &ways);
	fake_wait_standing(&other, 3);
	blob_ways_remove(&ways, &other.source); /* or hang here */
	CHECK_U64(other.streams, 0);
	CHECK(other.cancelled[0] > 0);
	EVENTUALLY(has(&f, n_frames(&f, 0) - 1)); /* at once: that was no fault */
	CHECK_U64(stats(&f).errors, 0);
	CHECK_U64(fake_requests(&other), 3);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	CHECK(all_right(&f, 0));
	end_ways(&f, &ways);
}

/* --- the end --- */

static void begin_waited_for(struct fixture *f, struct ask *near, struct ask *far)
{
	begin_one(f);
	fake_flow(&f->fake, A_FRAME_AND_A_BIT, 0, 0);
	EVENTUALLY(has(f, 0));
	fake_wait_standing(&f->fake, 1);
	fake_gate(&f->fake, true);
	ask_frame(near, f, 0, 4);
	ask_frame(far, f, 0, 90);
	fake_wait(&f->fake, 1);
}

static void check_failed(struct fixture *f, struct ask *near, struct ask *far)
{
	CHECK_U64((uint64_t)ask_wait(near), EIO);
	CHECK_U64((uint64_t)ask_wait(far), EIO);
	CHECK_U64(f->fake.streams, 0);
	CHECK(f->fake.cancelled[0] > 0);
}

static void a_blob_goes_while_its_stream_stands(void)
{
	struct ask near, far;
	struct fixture f;

	begin_waited_for(&f, &near, &far);
	remove_blob(&f, 0); /* or hang here */
	check_failed(&f, &near, &far);
	CHECK_U64(stats(&f).errors, 0);
	CHECK_U64(f.engine->streams, 0);
	end(&f);
}

static void an_engine_stops_while_a_stream_stands(void)
{
	struct ask near, far;
	struct fixture f;

	begin_waited_for(&f, &near, &far);
	engine_stop(f.engine); /* or hang here */
	f.engine = NULL;
	f.blobs[0] = NULL;
	check_failed(&f, &near, &far);
	end(&f);
}

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(what_a_broken_stream_has_not_given_is_asked_for_again);
	RUN(wrong_bytes_in_a_stream_are_asked_for_again);
	RUN(wrong_bytes_in_a_stream_are_waited_for_as_long_as_any);
	RUN(a_frame_that_stays_wrong_is_an_error_and_no_other_is);
	RUN(who_waits_for_a_stream_waits_for_space);
	RUN(one_mirror_lies_and_the_next_is_asked);
	RUN(one_image_brings_a_liar_and_another_does_not);
	RUN(an_image_that_goes_takes_its_stream_with_it);
	RUN(a_blob_goes_while_its_stream_stands);
	RUN(an_engine_stops_while_a_stream_stands);
	return tap_done();
}
