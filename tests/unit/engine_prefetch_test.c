// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* What is fetched when nobody waits comes in the order in which it will be wanted. */
#include "config.h"

#include "lib/serve/engine/part.h"
#include "tests/unit/engine_fixture.h"

enum { EACH_ALONE = 1 }; /* a slice: no request has more than a frame */

/* The n-th request was for this frame. */
static void check_frame(const struct fixture *f, unsigned n, unsigned blob, uint32_t frame)
{
	CHECK_U64(f->fake.log[n].blob, blob);
	CHECK_U64(f->fake.log[n].offset, frame_of(f, blob, frame).stored_offset);
}

static unsigned count(const struct fixture *f, unsigned from, unsigned n, unsigned blob)
{
	unsigned found = 0;

	for (unsigned i = from; i < from + n; i++)
		found += f->fake.log[i].blob == blob;
	return found;
}

static void wait_complete(const struct fixture *f)
{
	for (unsigned i = 0; i < f->n; i++)
		EVENTUALLY(served_blob_is_complete(f->blobs[i]));
}

static void what_lies_behind_a_reader_comes_next(void)
{
	struct engine_options o = options(1, EACH_ALONE);
	struct fixture f;
	struct ask a;
	uint32_t n;

	begin(&f, 1, BLOCKS, &o, 0, true);
	n = range_map_n_frames(f.samples[0].map);
	fake_gate(&f.fake, true);
	engine_prefetch(f.blobs[0]);
	fake_wait(&f.fake, 1);
	ask_frame(&a, &f, 0, 100);
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	wait_complete(&f);
	check_frame(&f, 0, 0, 0);
	for (uint32_t i = 100; i < n; i++)
		check_frame(&f, 1 + i - 100, 0, i);
	for (uint32_t i = 1; i < 100; i++) /* and then what lies before him */
		check_frame(&f, n - 100 + i, 0, i);
	CHECK_U64(fake_requests(&f.fake), n);
	end(&f);
}

/* He waits for no frame: it is there already. */
static void a_reader_is_followed_where_all_is_there(void)
{
	struct engine_options o = options(1, EACH_ALONE);
	struct fixture f;

	begin(&f, 1, BLOCKS, &o, 0, true);
	CHECK_U64((uint64_t)need_frame(&f, 0, 60), 0);
	CHECK_U64((uint64_t)need_frame(&f, 0, 120), 0);
	CHECK_U64((uint64_t)need_frame(&f, 0, 60), 0);
	fake_gate(&f.fake, true);
	engine_prefetch(f.blobs[0]);
	fake_wait(&f.fake, 1);
	CHECK_U64((uint64_t)need_frame(&f, 0, 120), 0);
	fake_gate(&f.fake, false);
	wait_complete(&f);
	check_frame(&f, 2, 0, 61);
	check_frame(&f, 3, 0, 121);
	check_frame(&f, 4, 0, 122);
	end(&f);
}

/* At once, not in a second round: what was begun before the end still stands at the gate. */
static void it_goes_round_the_end(void)
{
	struct engine_options o = options(4, EACH_ALONE);
	struct fixture f;
	uint32_t last;

	begin(&f, 1, BLOCKS, &o, 0, true);
	last = range_map_n_frames(f.samples[0].map) - 1;
	CHECK_U64((uint64_t)need_frame(&f, 0, last - 1), 0);
	fake_gate(&f.fake, true);
	engine_prefetch(f.blobs[0]);
	fake_wait(&f.fake, 3); /* or hang here */
	CHECK_U64(f.fake.log[1].offset + f.fake.log[2].offset + f.fake.log[3].offset,
		frame_of(&f, 0, last).stored_offset + frame_of(&f, 0, 0).stored_offset +
			frame_of(&f, 0, 1).stored_offset);
	fake_gate(&f.fake, false);
	wait_complete(&f);
	end(&f);
}

static void the_blob_that_was_read_last_goes_first_and_nobody_starves(void)
{
	struct engine_options o = options(1, EACH_ALONE);
	struct fixture f;
	struct ask a;

	begin(&f, 3, BLOCKS, &o, 0, true);
	fake_gate(&f.fake, true);
	engine_prefetch(f.blobs[0]);
	fake_wait(&f.fake, 1);
	engine_prefetch(f.blobs[1]);
	engine_prefetch(f.blobs[2]);
	ask_frame(&a, &f, 2, 50);
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	fake_wait_requests(&f.fake, 40);
	check_frame(&f, 1, 2, 50);
	check_frame(&f, 2, 2, 51);
	check_frame(&f, 3, 2, 52);
	CHECK(count(&f, 2, 32, 2) == 28);
	CHECK(count(&f, 2, 32, 0) == 2 && count(&f, 2, 32, 1) == 2);
	wait_complete(&f);
	end(&f);
}

static void blobs_that_nobody_reads_come_one_after_the_other(void)
{
	struct engine_options o = options(1, EACH_ALONE);
	static const unsigned order[] = { 1, 0, 2 };
	unsigned n[3], at = 1;
	struct fixture f;

	begin(&f, 3, BLOCKS, &o, 0, true);
	fake_gate(&f.fake, true);
	for (unsigned i = 0; i < 3; i++) {
		engine_prefetch(f.blobs[order[i]]);
		fake_wait(&f.fake, 1);
		n[i] = range_map_n_frames(f.samples[order[i]].map);
	}
	fake_gate(&f.fake, false);
	wait_complete(&f);
	for (unsigned i = 0; i < 2; i++) { /* the last one gets what is left */
		CHECK(count(&f, at, 48, order[i]) >= 42);
		at += n[i] * 8 / 7;
	}
	end(&f);
}

/* The second's index is there, the first's is being loaded. */
struct scene {
	struct engine e;
	struct fetcher f[2];
	struct served_blob first, second;
};

static void scene_begin(struct scene *s)
{
	static char map;

	*s = (struct scene){ .e.options.fetchers = 2, .e.fetchers = s->f };
	s->first.engine = s->second.engine = &s->e;
	TAILQ_INIT(&s->first.index_waiters);
	s->first.prefetch_number = 1;
	s->second.prefetch_number = 2;
	s->second.map = (struct range_map *)&map; /* nobody looks into it */
	s->f[1].run =
		(struct run){ .blob = &s->first, .level = PREFETCH, .index = true, .since = 5 };
}

static void data_waits_for_the_index_of_what_goes_before_it(void)
{
	uint64_t wake = UINT64_MAX;
	struct scene s;

	scene_begin(&s);
	CHECK(prefetch_waits(&s.second, PREFETCH, 100, &wake));
	CHECK(wake > 100 && wake < 1000000);
	CHECK(!prefetch_waits(&s.second, PREFETCH, wake, &wake)); /* not for ever */
	CHECK(!prefetch_waits(&s.second, AHEAD, 100, &wake));
	s.f[1].run.index = false;
	CHECK(!prefetch_waits(&s.second, PREFETCH, 100, &wake));
	s.f[1].run.index = true;
	s.f[1].run.blob = NULL; /* it is over */
	CHECK(!prefetch_waits(&s.second, PREFETCH, 100, &wake));
}

static void what_goes_first_and_indexes_wait_for_no_other_index(void)
{
	uint64_t wake = UINT64_MAX;
	struct want w;
	struct scene s;

	scene_begin(&s);
	s.second.ahead.read_at = 50; /* somebody has read it */
	CHECK(!prefetch_waits(&s.second, PREFETCH, 100, &wake));
	TAILQ_INSERT_TAIL(&s.first.index_waiters, &w, of_list); /* and wants to read the other */
	CHECK(prefetch_waits(&s.second, PREFETCH, 100, &wake));
	TAILQ_REMOVE(&s.first.index_waiters, &w, of_list);
	wake = UINT64_MAX;
	s.second.ahead.read_at = 0;
	s.second.map = NULL;
	CHECK(!prefetch_waits(&s.second, PREFETCH, 100, &wake));
	CHECK(wake == UINT64_MAX);
}

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(what_lies_behind_a_reader_comes_next);
	RUN(a_reader_is_followed_where_all_is_there);
	RUN(it_goes_round_the_end);
	RUN(the_blob_that_was_read_last_goes_first_and_nobody_starves);
	RUN(blobs_that_nobody_reads_come_one_after_the_other);
	RUN(data_waits_for_the_index_of_what_goes_before_it);
	RUN(what_goes_first_and_indexes_wait_for_no_other_index);
	return tap_done();
}
