// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The engine between readers and a source that fails, lies, and keeps them waiting. */
#include "config.h"

#include "tests/unit/engine_fixture.h"

#include <stdatomic.h>

enum { BLOCKS = 800 };

static struct engine_options options(unsigned fetchers, size_t slice)
{
	return (struct engine_options){
		.fetchers = fetchers, .slice_bytes = slice, .deadline = 100
	};
}

/* --- right bytes, each once --- */

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

/* --- few requests, several at a time, and in whose order --- */

static void check_request(
	const struct fixture *f, unsigned n, unsigned blob, uint32_t first, uint32_t last)
{
	struct frame a = frame_of(f, blob, first), z = frame_of(f, blob, last);
	const struct request *r = &f->fake.log[n];

	CHECK_U64(r->blob, blob);
	CHECK_U64(r->offset, a.stored_offset);
	CHECK_U64(r->len, z.stored_offset + z.stored_size - a.stored_offset);
}

/* One fetcher, who is kept busy with frame 150. */
static void begin_busy(struct fixture *f, struct ask *first, size_t gap, unsigned n)
{
	struct engine_options o = options(1, 300000);

	begin(f, n, BLOCKS, &o, 0, true);
	f->fake.source.gap = gap;
	fake_gate(&f->fake, true);
	ask_frame(first, f, 0, 150);
	fake_wait(&f->fake, 1);
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

/* --- reading ahead --- */

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

/* --- faults --- */

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
	CHECK(stats(&f).waited_us >= 3000000);
	fake_gate(&f.fake, false);
	EVENTUALLY(store_blob_has(f.caches[0], 50) && store_blob_has(f.caches[0], 90));
	CHECK_U64(fake_requests(&f.fake), 2);
	CHECK_U64((uint64_t)need_frame(&f, 0, 50), 0);
	end(&f);
}

/* --- a full store --- */

/* Room for one of the two blobs, which takes it. */
static void begin_full(struct fixture *f, unsigned deadline)
{
	struct engine_options o = options(2, 150000);

	o.deadline = deadline;
	log_set_level(LOG_QUIET); /* before there are threads */
	begin(f, 2, BLOCKS, &o, (BLOCKS + 100) * (uint64_t)BLOCK, true);
	CHECK_U64((uint64_t)engine_need(f->blobs[0], 0, UINT64_MAX), 0);
}

static void a_full_store_is_an_error_after_the_deadline_and_no_more(void)
{
	struct fixture f;

	begin_full(&f, 2);
	CHECK_U64((uint64_t)engine_need(f.blobs[1], 0, UINT64_MAX), ENOSPC);
	CHECK_U64(stats(&f).deadlines, 1);
	CHECK_U64((uint64_t)need_frame(&f, 0, 30), 0); /* alive */
	CHECK(all_right(&f, 0));
	end(&f);
	log_set_level(LOG_NORMAL);
}

static void who_waits_for_space_gets_it_when_others_go(void)
{
	struct fixture f;
	struct ask a;

	begin_full(&f, 100);
	ask(&a, f.blobs[1], 0, UINT64_MAX);
	EVENTUALLY(stats(&f).errors >= 2);
	CHECK(!ask_is_done(&a));
	remove_blob(&f, 0);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	CHECK(all_right(&f, 1));
	end(&f);
	log_set_level(LOG_NORMAL);
}

/* --- a disk that fails (linked with --wrap=fdatasync) --- */

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

/* --- the end --- */

static void *remove_first(void *arg)
{
	remove_blob(arg, 0);
	return NULL;
}

static void who_waits_for_a_blob_that_goes_gets_an_error_at_once(void)
{
	struct fixture f;
	struct ask a[3];
	pthread_t t;

	begin_busy(&f, &a[0], 0, 2);
	ask_frame(&a[1], &f, 0, 20);
	ask(&a[2], f.blobs[0], 0, UINT64_MAX);
	pthread_create(&t, NULL, remove_first, &f);
	for (unsigned i = 0; i < 3; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), EIO); /* the gate is closed */
	fake_gate(&f.fake, false);
	pthread_join(t, NULL);
	CHECK_U64((uint64_t)need_frame(&f, 1, 20), 0); /* others live on */
	end(&f);
}

static void *stop_engine(void *arg)
{
	struct fixture *f = arg;

	engine_stop(f->engine);
	f->engine = NULL;
	return NULL;
}

static void who_waits_when_the_engine_stops_gets_an_error_at_once(void)
{
	struct fixture f;
	struct ask a[2];
	pthread_t t;

	begin_busy(&f, &a[0], 0, 1);
	ask(&a[1], f.blobs[0], 0, UINT64_MAX);
	engine_prefetch(f.blobs[0]);
	pthread_create(&t, NULL, stop_engine, &f);
	CHECK_U64((uint64_t)ask_wait(&a[0]), EIO);
	CHECK_U64((uint64_t)ask_wait(&a[1]), EIO);
	fake_gate(&f.fake, false);
	pthread_join(t, NULL);
	f.blobs[0] = NULL; /* it went with the engine */
	end(&f);
}

static void what_was_fetched_is_there_the_next_time(void)
{
	struct engine_options o = options(2, 150000);
	struct fixture f;

	begin(&f, 1, BLOCKS, &o, 0, true);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 100 * BLOCK, 100 * BLOCK), 0);
	remove_blob(&f, 0);
	add_blob(&f, 0, NULL);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 100 * BLOCK, 100 * BLOCK), 0);
	CHECK_U64(stats(&f).hits, 1);
	CHECK(is_right(&f, 0, 100 * BLOCK, 100 * BLOCK));
	end(&f);
}

/* --- the index at the first read --- */

static unsigned index_opened, index_fails;

static struct range_map *open_index(void *arg, struct error **err)
{
	struct fixture *f = arg;

	index_opened++;
	pthread_mutex_lock(&f->fake.lock);
	fake_pass_gate(&f->fake);
	pthread_mutex_unlock(&f->fake.lock);
	if (index_opened > index_fails)
		return sample_map(&f->samples[0]);
	error_set(err, EHOSTUNREACH, "no index");
	return NULL;
}

static void begin_lazy(struct fixture *f, unsigned fails)
{
	struct engine_options o = options(3, 150000);

	index_opened = 0;
	index_fails = fails;
	begin(f, 1, BLOCKS, &o, 0, false);
	add_blob(f, 0, open_index);
}

static void an_index_is_opened_once_by_the_first_who_wants(void)
{
	struct fixture f;
	struct ask a[3];

	begin_lazy(&f, 0);
	fake_gate(&f.fake, true);
	for (unsigned i = 0; i < 3; i++)
		ask_frame(&a[i], &f, 0, 30 + i * 50);
	fake_wait(&f.fake, 1);
	CHECK(!ask_is_done(&a[0]));
	fake_gate(&f.fake, false);
	for (unsigned i = 0; i < 3; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), 0);
	CHECK_U64(index_opened, 1);
	CHECK(is_right(&f, 0, frame_of(&f, 0, 80).offset, 1));
	end(&f);
}

static void an_index_that_fails_is_an_error_and_tried_by_the_next(void)
{
	struct fixture f;
	struct ask a[3];

	begin_lazy(&f, 1);
	fake_gate(&f.fake, true);
	for (unsigned i = 0; i < 3; i++)
		ask_frame(&a[i], &f, 0, 30 + i * 50);
	fake_gate(&f.fake, false);
	for (unsigned i = 0; i < 3; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), EIO);
	CHECK_U64((uint64_t)need_frame(&f, 0, 30), 0);
	CHECK_U64(index_opened, 2);
	engine_prefetch(f.blobs[0]);
	EVENTUALLY(served_blob_is_complete(f.blobs[0]));
	end(&f);
}

static void prefetching_alone_opens_the_index(void)
{
	struct fixture f;

	begin_lazy(&f, 1);
	engine_prefetch(f.blobs[0]);
	EVENTUALLY(served_blob_is_complete(f.blobs[0]));
	CHECK_U64(index_opened, 2);
	CHECK(all_right(&f, 0));
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
	RUN(blobs_take_turns);
	RUN(who_wants_what_waits_to_be_read_ahead_gets_it_in_his_turn);
	RUN(who_wants_overtakes_what_is_fetched_ahead);
	RUN(prefetching_leaves_a_fetcher_to_who_wants);
	RUN(prefetching_completes_a_blob);
	RUN(who_reads_on_finds_it_there);
	RUN(who_jumps_gets_what_he_asks_for_and_no_more);
	RUN(wrong_bytes_are_asked_for_again_and_never_stored);
	RUN(a_frame_that_stays_wrong_is_an_error_until_it_is_right);
	RUN(a_source_that_fails_is_asked_twice_and_again_by_the_next);
	RUN(nobody_waits_longer_than_the_deadline);
	RUN(a_full_store_is_an_error_after_the_deadline_and_no_more);
	RUN(who_waits_for_space_gets_it_when_others_go);
	RUN(what_a_failed_sync_loses_is_fetched_again);
	RUN(who_waits_for_a_blob_that_goes_gets_an_error_at_once);
	RUN(who_waits_when_the_engine_stops_gets_an_error_at_once);
	RUN(what_was_fetched_is_there_the_next_time);
	RUN(an_index_is_opened_once_by_the_first_who_wants);
	RUN(an_index_that_fails_is_an_error_and_tried_by_the_next);
	RUN(prefetching_alone_opens_the_index);
	return tap_done();
}
