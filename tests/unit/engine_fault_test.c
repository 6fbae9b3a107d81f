// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* A source that fails and lies, a disk that fails (linked with --wrap=fdatasync). */
#include "config.h"

#include "lib/serve/engine/part.h"
#include "tests/unit/engine_fixture.h"

#include <limits.h>
#include <stdatomic.h>

static void wrong_bytes_are_asked_for_again_and_never_stored(void)
{
	struct engine_options o = options(2, 150000);
	struct fixture f;
	struct frame five;

	begin(&f, 1, BLOCKS, &o, 0, true);
	five = frame_of(&f, 0, 5);
	f.fake.corrupt = five.stored_offset + 100;
	f.fake.n_corrupt = 1;
	CHECK_U64((uint64_t)need_frame(&f, 0, 5), 0);
	CHECK_U64(stats(&f).bad_frames, 1);
	CHECK_U64(stats(&f).errors, 0);
	CHECK_U64(f.fake.blamed, 1);
	CHECK_U64(fake_requests(&f.fake), 2);
	CHECK(is_right(&f, 0, five.offset, five.size));
	end(&f);
}

static void a_frame_that_stays_wrong_is_an_error_until_it_is_right(void)
{
	struct engine_options o = options(1, 150000);
	struct frame five;
	struct fixture f;
	uint64_t at;

	begin(&f, 1, BLOCKS, &o, 0, true);
	five = frame_of(&f, 0, 5);
	at = frame_of(&f, 0, 4).offset;
	f.fake.corrupt = five.stored_offset + 100;
	f.fake.n_corrupt = 2;
	CHECK_U64((uint64_t)engine_need(f.blobs[0], at, 3 * FRAME), EIO);
	CHECK_U64(stats(&f).bad_frames, 2);
	CHECK_U64(stats(&f).errors, 1);
	CHECK(!store_blob_has(f.caches[0], 5));
	CHECK_U64((uint64_t)need_frame(&f, 0, 4), 0); /* the others of its request are there */
	CHECK_U64((uint64_t)need_frame(&f, 0, 6), 0);
	CHECK_U64(fake_requests(&f.fake), 2);
	CHECK_U64((uint64_t)need_frame(&f, 0, 5), 0);
	CHECK(is_right(&f, 0, five.offset, five.size));
	end(&f);
}

/* It is away when it is asked for them again. */
static void wrong_bytes_are_waited_for_as_long_as_any(void)
{
	struct engine_options o = options(1, 150000);
	struct frame five;
	struct fixture f;
	struct ask a;

	log_set_level(LOG_QUIET);
	begin(&f, 1, BLOCKS, &o, 0, true);
	five = frame_of(&f, 0, 5);
	f.fake.corrupt = five.stored_offset + 100;
	f.fake.n_corrupt = 1;
	f.fake.fail_code = EAGAIN;
	fake_gate(&f.fake, true);
	ask(&a, f.blobs[0], frame_of(&f, 0, 4).offset, 3 * FRAME);
	fake_permit(&f.fake, 1);
	fake_wait_requests(&f.fake, 2);
	f.fake.fail = 1;
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	CHECK_U64(stats(&f).bad_frames, 1);
	CHECK_U64(stats(&f).errors, 0);
	CHECK_U64(fake_requests(&f.fake), 4); /* all three, 5, 5, 6 */
	CHECK(is_right(&f, 0, five.offset, five.size));
	end(&f);
	log_set_level(LOG_NORMAL);
}

static void a_source_that_fails_is_asked_twice_and_again_by_the_next(void)
{
	struct engine_options o = options(2, 150000);
	struct fixture f;

	begin(&f, 1, BLOCKS, &o, 0, true);
	f.fake.fail = 1;
	CHECK_U64((uint64_t)need_frame(&f, 0, 5), 0);
	CHECK_U64(fake_requests(&f.fake), 2);
	f.fake.fail = 2;
	CHECK_U64((uint64_t)need_frame(&f, 0, 50), EIO);
	CHECK_U64(fake_requests(&f.fake), 4);
	CHECK_U64(stats(&f).errors, 1);
	CHECK_U64((uint64_t)need_frame(&f, 0, 50), 0);
	CHECK(is_right(&f, 0, frame_of(&f, 0, 50).offset, 1));
	end(&f);
}

/* It is asked once each time; then it rests for 100, 200 and 400 ms. */
static void who_waits_for_a_source_that_is_away_goes_on_waiting(void)
{
	struct engine_options o = options(2, 150000);
	struct fixture f;
	struct ask a[2];

	log_set_level(LOG_QUIET);
	begin(&f, 1, BLOCKS, &o, 0, true);
	f.fake.fail = 3;
	f.fake.fail_code = EAGAIN;
	ask_frame(&a[0], &f, 0, 50);
	EVENTUALLY(fake_requests(&f.fake) >= 1);
	ask_frame(&a[1], &f, 0, 50);
	CHECK_U64((uint64_t)ask_wait(&a[0]), 0);
	CHECK_U64((uint64_t)ask_wait(&a[1]), 0);
	CHECK_U64(fake_requests(&f.fake), 4);
	CHECK_U64(stats(&f).errors, 0);
	CHECK(stats(&f).waited_us >= 700000);
	CHECK(is_right(&f, 0, frame_of(&f, 0, 50).offset, 1));
	f.fake.fail = 1;
	CHECK_U64((uint64_t)need_frame(&f, 0, 90), 0); /* and now it rests for 100 ms again */
	CHECK(stats(&f).waited_us < 10000000);
	end(&f);
	log_set_level(LOG_NORMAL);
}

static unsigned busy(const struct fixture *f)
{
	unsigned n;

	pthread_mutex_lock(&f->engine->lock);
	n = f->engine->busy[DEMAND];
	pthread_mutex_unlock(&f->engine->lock);
	return n;
}

static void set_rest(const struct fixture *f, uint64_t until)
{
	pthread_mutex_lock(&f->engine->lock);
	f->blobs[0]->rest[DEMAND] = until;
	queue_update_locked(f->blobs[0]);
	pthread_mutex_unlock(&f->engine->lock);
}

/* Two that are under way when a third one has failed, after which it rests for a while. */
static void runs_that_fail_together_make_the_pause_no_longer(void)
{
	struct engine_options o = options(2, 150000);
	uint64_t rest = engine_now() + 3600ULL * 1000 * 1000;
	struct fixture f;
	struct ask a[2];

	log_set_level(LOG_QUIET);
	begin(&f, 1, BLOCKS, &o, 0, true);
	fake_gate(&f.fake, true);
	for (unsigned i = 0; i < 2; i++)
		ask_frame(&a[i], &f, 0, 50 + i * 50);
	fake_wait(&f.fake, 2);
	set_rest(&f, rest);
	f.blobs[0]->away_pause = 100;
	f.fake.fail = 2;
	f.fake.fail_code = EAGAIN;
	fake_gate(&f.fake, false);
	EVENTUALLY(busy(&f) == 0);
	CHECK_U64(f.blobs[0]->away_pause, 100);
	CHECK_U64(f.blobs[0]->rest[DEMAND], rest);
	CHECK_U64(fake_requests(&f.fake), 2);
	set_rest(&f, 0);
	for (unsigned i = 0; i < 2; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), 0);
	end(&f);
	log_set_level(LOG_NORMAL);
}

static void need_all(struct fixture *f)
{
	CHECK_U64((uint64_t)engine_need(f->blobs[0], 0, UINT64_MAX), 0);
}

static void prefetch_all(struct fixture *f)
{
	engine_prefetch(f->blobs[0]);
	EVENTUALLY(served_blob_is_complete(f->blobs[0]));
}

/* Until all is there of a source that is away for so many requests first. */
static unsigned requests_when_away(unsigned away, void (*fetch)(struct fixture *f))
{
	struct engine_options o = options(1, 150000);
	struct fixture f;
	unsigned n;

	log_set_level(LOG_QUIET);
	begin(&f, 1, BLOCKS, &o, 0, true);
	f.fake.fail = away;
	f.fake.fail_code = EAGAIN;
	fetch(&f);
	n = fake_requests(&f.fake);
	CHECK(all_right(&f, 0));
	end(&f);
	log_set_level(LOG_NORMAL);
	return n;
}

/* As many requests as without the failure, the one that failed, and two for what is left of the
 * first. */
static void who_wants_much_of_a_source_that_was_away_does_not_ask_for_little(void)
{
	CHECK(requests_when_away(1, need_all) <= requests_when_away(0, need_all) + 1 + 2);
}

/* Nobody waits; it rests, and at its end comes to what it has passed over. */
static void prefetching_gets_over_a_source_that_was_away(void)
{
	CHECK_U64(requests_when_away(1, prefetch_all), requests_when_away(0, prefetch_all) + 1);
}

static void who_waits_for_a_source_that_stays_away_does_so_until_the_deadline(void)
{
	struct engine_options o = options(2, 150000);
	struct fixture f;

	log_set_level(LOG_QUIET);
	o.deadline = 1;
	begin(&f, 1, BLOCKS, &o, 0, true);
	f.fake.fail = UINT_MAX;
	f.fake.fail_code = EAGAIN;
	CHECK_U64((uint64_t)need_frame(&f, 0, 50), EIO);
	CHECK_U64(stats(&f).deadlines, 1);
	CHECK(stats(&f).waited_us >= 1000000);
	EVENTUALLY(
		stats(&f).errors == 2); /* a deadline; and then nobody waits, and it has failed */
	f.fake.fail = 0;
	CHECK_U64((uint64_t)need_frame(&f, 0, 50), 0);
	CHECK(is_right(&f, 0, frame_of(&f, 0, 50).offset, 1));
	end(&f);
	log_set_level(LOG_NORMAL);
}

static void nobody_waits_longer_than_the_deadline(void)
{
	struct engine_options o = options(1, 150000);
	struct fixture f;
	struct ask a[3];

	o.deadline = 1;
	begin(&f, 1, BLOCKS, &o, 0, true);
	fake_gate(&f.fake, true);
	ask_frame(&a[0], &f, 0, 50); /* being fetched */
	fake_wait(&f.fake, 1);
	ask_frame(&a[1], &f, 0, 50); /* the same */
	ask_frame(&a[2], &f, 0, 90); /* queued */
	for (unsigned i = 0; i < 3; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), EIO);
	CHECK_U64(stats(&f).deadlines, 3);
	CHECK_U64(stats(&f).failed, 3);
	CHECK_U64(stats(&f).errors, 3);
	CHECK(stats(&f).waited_us >= 3000000);
	fake_gate(&f.fake, false);
	EVENTUALLY(store_blob_has(f.caches[0], 50) && store_blob_has(f.caches[0], 90));
	CHECK_U64(fake_requests(&f.fake), 2);
	CHECK_U64((uint64_t)need_frame(&f, 0, 50), 0);
	end(&f);
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

static atomic_uint failing_syncs;

int __wrap_fdatasync(int fd)
{
	if (!failing_syncs)
		return __real_fdatasync(fd);
	failing_syncs--;
	errno = EIO;
	return -1;
}

static void what_a_failed_sync_loses_is_fetched_again(void)
{
	struct engine_options o = options(2, 150000);
	struct fixture f;

	begin(&f, 1, BLOCKS, &o, 0, true);
	failing_syncs = 1;
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	EVENTUALLY(!store_blob_has(f.caches[0], 30));
	CHECK(!served_blob_is_complete(f.blobs[0]));
	CHECK_U64((uint64_t)need_frame(&f, 0, 30), 0);
	CHECK(store_blob_has(f.caches[0], 30));
	engine_prefetch(f.blobs[0]);
	EVENTUALLY(served_blob_is_complete(f.blobs[0]));
	CHECK_U64(stats(&f).frames_fetched, 2 * (uint64_t)range_map_n_frames(f.samples[0].map));
	CHECK(all_right(&f, 0));
	end(&f);
}

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(wrong_bytes_are_asked_for_again_and_never_stored);
	RUN(a_frame_that_stays_wrong_is_an_error_until_it_is_right);
	RUN(wrong_bytes_are_waited_for_as_long_as_any);
	RUN(a_source_that_fails_is_asked_twice_and_again_by_the_next);
	RUN(who_waits_for_a_source_that_is_away_goes_on_waiting);
	RUN(runs_that_fail_together_make_the_pause_no_longer);
	RUN(who_wants_much_of_a_source_that_was_away_does_not_ask_for_little);
	RUN(prefetching_gets_over_a_source_that_was_away);
	RUN(who_waits_for_a_source_that_stays_away_does_so_until_the_deadline);
	RUN(nobody_waits_longer_than_the_deadline);
	RUN(what_a_failed_sync_loses_is_fetched_again);
	return tap_done();
}
