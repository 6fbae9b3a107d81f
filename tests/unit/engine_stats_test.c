// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Figures for people and for Prometheus. */
#include "config.h"

#include "tests/unit/engine_fixture.h"

static struct engine_stats blob_stats(const struct fixture *f, unsigned i)
{
	struct engine_stats s;

	served_blob_stats(f->blobs[i], &s);
	return s;
}

static void begin_two(struct fixture *f)
{
	struct engine_options o = options(2, 150000);

	begin(f, 2, BLOCKS, &o, 0, true);
}

static void what_is_there_and_what_is_missing_is_counted_in_bytes_and_frames(void)
{
	struct engine_stats s;
	struct fixture f;
	uint32_t n;

	begin_two(&f);
	n = range_map_n_frames(f.samples[0].map);
	s = blob_stats(&f, 0);
	CHECK_U64(s.bytes_cached, 0);
	CHECK_U64(s.bytes_missing, f.samples[0].size);
	CHECK_U64(s.frames_total, n);
	CHECK_U64((uint64_t)need_frame(&f, 0, 7), 0);
	CHECK_U64((uint64_t)need_frame(&f, 0, n - 1), 0);
	s = blob_stats(&f, 0);
	CHECK_U64(s.bytes_cached, frame_of(&f, 0, 7).size + frame_of(&f, 0, n - 1).size);
	CHECK_U64(s.bytes_cached + s.bytes_missing, f.samples[0].size);
	CHECK_U64(s.frames_present, 2);
	CHECK_U64(s.blobs, 1);
	CHECK_U64(s.blobs_complete, 0);
	end(&f);
}

static void all_of_it_is_the_sum_of_the_blobs(void)
{
	struct engine_stats s;
	struct fixture f;

	begin_two(&f);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	CHECK_U64((uint64_t)need_frame(&f, 1, 7), 0);
	EVENTUALLY(served_blob_is_complete(f.blobs[0]));
	s = stats(&f);
	CHECK_U64(s.blobs, 2);
	CHECK_U64(s.blobs_complete, 1);
	CHECK_U64(s.bytes_cached, f.samples[0].size + frame_of(&f, 1, 7).size);
	CHECK_U64(s.bytes_missing, f.samples[1].size - frame_of(&f, 1, 7).size);
	CHECK_U64(s.frames_total, range_map_n_frames(f.samples[0].map) +
					  (uint64_t)range_map_n_frames(f.samples[1].map));
	remove_blob(&f, 1);
	s = stats(&f);
	CHECK_U64(s.blobs, 1);
	CHECK_U64(s.bytes_missing, 0);
	CHECK_U64(s.wants, 2); /* what was counted stays */
	end(&f);
}

static struct range_map *no_index(void *arg, struct blob_source *source, struct error **err)
{
	error_set(err, 0, "nobody wants it");
	return NULL;
}

static void before_the_index_is_there_the_bytes_are_estimated(void)
{
	struct engine_stats s;
	struct fixture f;

	begin_two(&f);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 100 * BLOCK, 100 * BLOCK), 0);
	remove_blob(&f, 0);
	add_blob(&f, 0, no_index);
	s = blob_stats(&f, 0);
	CHECK(s.frames_present >= 25);
	CHECK_U64(s.bytes_cached / BLOCK,
		f.samples[0].size * s.frames_present / s.frames_total / BLOCK);
	CHECK_U64(s.bytes_cached + s.bytes_missing, f.samples[0].size);
	end(&f);
}

/* Who has the first frame is away at first; all else waits at the gate. */
static int read_with_first_frame_late(struct blob_source *s, const struct digest *blob,
	uint64_t offset, void *buf, size_t len, struct error **err)
{
	struct fake *f = (struct fake *)s;
	bool fails;

	if (offset > 0)
		return fake_read(s, blob, offset, buf, len, err);
	pthread_mutex_lock(&f->lock);
	fails = f->fail > 0;
	f->fail -= fails;
	pthread_mutex_unlock(&f->lock);
	if (fails)
		return error_set(err, EAGAIN, "away");
	memcpy(buf, f->samples[0].stored, len);
	return 0;
}

static bool was_asked_for(struct fixture *f, uint32_t frame)
{
	uint64_t offset = frame_of(f, 0, frame).stored_offset;

	for (unsigned i = fake_requests(&f->fake); i-- > 0;)
		if (f->fake.log[i].offset == offset)
			return true;
	return false;
}

/* A want that has to ask once more for what lies between walks over what it asked for before. */
static void nobody_shares_what_he_asked_for_himself(void)
{
	struct engine_options o = options(8, 150000);
	struct fixture f;
	struct ask all, other;

	log_set_level(LOG_QUIET);
	begin(&f, 1, BLOCKS, &o, 0, true);
	f.fake.source.read = read_with_first_frame_late;
	f.fake.fail = 1;
	fake_gate(&f.fake, true);
	ask(&all, f.blobs[0], 0, UINT64_MAX);
	EVENTUALLY(was_asked_for(&f, 1)); /* alone with the rest of its slice */
	CHECK_U64(stats(&f).frames_waited, 0);
	ask_frame(&other, &f, 0, 15);
	CHECK_U64(stats(&f).frames_waited, 1);
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&all), 0);
	CHECK_U64((uint64_t)ask_wait(&other), 0);
	CHECK_U64(stats(&f).frames_waited, 1);
	end(&f);
	log_set_level(LOG_NORMAL);
}

static void wants_that_waited_are_in_one_bucket_each(void)
{
	struct engine_stats s;
	struct fixture f;
	struct ask a[3];
	uint64_t sum = 0, quick = 0;

	begin_two(&f);
	fake_gate(&f.fake, true);
	for (unsigned i = 0; i < 3; i++)
		ask_frame(&a[i], &f, 0, 20 + i * 20);
	usleep(120 * 1000);
	fake_gate(&f.fake, false);
	for (unsigned i = 0; i < 3; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), 0);
	CHECK_U64((uint64_t)need_frame(&f, 0, 20), 0); /* no waiting */
	s = blob_stats(&f, 0);
	for (unsigned i = 0; i < ENGINE_WAIT_BUCKETS; i++) {
		sum += s.waited[i];
		if (i < ENGINE_WAIT_BUCKETS - 1 && engine_wait_bounds[i] <= 0.1)
			quick += s.waited[i];
	}
	CHECK_U64(sum, 3);
	CHECK_U64(quick, 0);
	CHECK(s.waited_us >= 3 * 120 * 1000);
	CHECK_U64(s.hits, 1);
	end(&f);
}

static void what_another_try_mends_is_counted(void)
{
	struct engine_stats s;
	struct fixture f;

	begin_two(&f);
	f.fake.fail = 1;
	CHECK_U64((uint64_t)need_frame(&f, 0, 5), 0);
	f.fake.corrupt = frame_of(&f, 0, 50).stored_offset;
	f.fake.n_corrupt = 1;
	CHECK_U64((uint64_t)need_frame(&f, 0, 50), 0);
	s = blob_stats(&f, 0);
	CHECK_U64(s.recovered, 2);
	CHECK_U64(s.errors, 0);
	CHECK_U64(blob_stats(&f, 1).recovered, 0);
	end(&f);
}

static int read_at_the_second_place(struct blob_source *s, const struct digest *blob,
	uint64_t offset, void *buf, size_t len, struct error **err)
{
	return fake_read(s, blob, offset, buf, len, err) < 0 ? -1 : 1;
}

static void what_another_place_mends_is_counted(void)
{
	struct fixture f;

	begin_two(&f);
	f.fake.source.read = read_at_the_second_place;
	CHECK_U64((uint64_t)need_frame(&f, 0, 5), 0);
	CHECK_U64(stats(&f).recovered, 1);
	CHECK_U64(stats(&f).errors, 0);
	end(&f);
}

static void reads_that_get_an_error_are_counted(void)
{
	struct fixture f;

	begin_two(&f);
	CHECK_U64((uint64_t)need_frame(&f, 0, 5), 0);
	CHECK_U64(stats(&f).failed, 0);
	f.fake.fail = 2;
	CHECK_U64((uint64_t)need_frame(&f, 0, 50), EIO);
	f.fake.liar = true;
	CHECK_U64((uint64_t)need_frame(&f, 0, 90), EIO);
	f.fake.liar = false;
	CHECK_U64((uint64_t)need_frame(&f, 0, 50), 0);
	CHECK_U64(blob_stats(&f, 0).failed, 2);
	CHECK_U64(blob_stats(&f, 1).failed, 0);
	remove_blob(&f, 0);
	CHECK_U64(stats(&f).failed, 2);
	end(&f);
}

/* Nor is that any health's matter: somebody unmounts while others read. */
static void reads_that_end_with_their_blob_have_not_failed(void)
{
	struct fixture f;
	struct ask a[2];

	begin_two(&f);
	fake_gate(&f.fake, true);
	ask_frame(&a[0], &f, 0, 20); /* being fetched */
	ask(&a[1], f.blobs[0], 0, UINT64_MAX); /* of which much is queued */
	fake_wait(&f.fake, 2);
	remove_blob(&f, 0);
	for (unsigned i = 0; i < 2; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), EIO);
	CHECK_U64(stats(&f).failed, 0);
	fake_gate(&f.fake, false);
	end(&f);
}

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(what_is_there_and_what_is_missing_is_counted_in_bytes_and_frames);
	RUN(all_of_it_is_the_sum_of_the_blobs);
	RUN(before_the_index_is_there_the_bytes_are_estimated);
	RUN(nobody_shares_what_he_asked_for_himself);
	RUN(wants_that_waited_are_in_one_bucket_each);
	RUN(what_another_try_mends_is_counted);
	RUN(what_another_place_mends_is_counted);
	RUN(reads_that_get_an_error_are_counted);
	RUN(reads_that_end_with_their_blob_have_not_failed);
	return tap_done();
}
