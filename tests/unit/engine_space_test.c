// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* A store that is full. */
#include "config.h"

#include "lib/serve/engine/part.h"
#include "tests/unit/engine_fixture.h"

#include <limits.h>

enum { SOME_SECONDS = 6 }; /* in which a busy machine gets done what there is room for */

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

	begin_full(&f, SOME_SECONDS);
	CHECK_U64((uint64_t)engine_need(f.blobs[1], 0, UINT64_MAX), ENOSPC);
	CHECK_U64(stats(&f).deadlines, 1);
	CHECK_U64((uint64_t)need_frame(&f, 0, 30), 0); /* alive */
	CHECK(all_right(&f, 0));
	end(&f);
	log_set_level(LOG_NORMAL);
}

static void after_the_first_nobody_waits_in_vain(void)
{
	struct fixture f;
	unsigned refused = 1;

	begin_full(&f, SOME_SECONDS);
	CHECK_U64((uint64_t)engine_need(f.blobs[1], 0, UINT64_MAX), ENOSPC);
	for (uint32_t i = 190; i > 110; i--) /* one or the other may fit */
		refused += need_frame(&f, 1, i) == ENOSPC;
	CHECK(refused > 50);
	CHECK_U64(stats(&f).deadlines, 1); /* the others had no time to wait */
	CHECK_U64(stats(&f).no_space, refused);
	remove_blob(&f, 0); /* which can be evicted now */
	CHECK_U64((uint64_t)need_frame(&f, 1, 190), 0);
	CHECK_U64((uint64_t)engine_need(f.blobs[1], 0, UINT64_MAX), 0);
	CHECK(all_right(&f, 1));
	CHECK_U64(stats(&f).no_space, refused);
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

/* Has prefetching been refused so many times since it last got on? It rests for 1, 2, 4 s. */
static bool has_been_refused(const struct fixture *f, unsigned blob, unsigned times)
{
	unsigned ms, busy;

	pthread_mutex_lock(&f->engine->lock);
	ms = f->blobs[blob]->prefetch_pause;
	busy = f->engine->busy[PREFETCH];
	pthread_mutex_unlock(&f->engine->lock);
	return !busy && ms >= 1000U << (times - 1);
}

static uint64_t present(const struct fixture *f, unsigned blob)
{
	return store_blob_present(f->caches[blob]);
}

static void check_no_fault(const struct fixture *f)
{
	CHECK_U64(stats(f).errors, 0);
	CHECK_U64(stats(f).no_space, 0);
	CHECK_U64(stats(f).deadlines, 0);
	for (unsigned i = 0; i < f->n; i++)
		CHECK(!f->blobs[i] || (!f->blobs[i]->lacking && !f->blobs[i]->starved));
}

static void prefetching_leaves_some_of_the_store_to_readers(void)
{
	enum { LIMIT = BLOCKS + BLOCKS / 2, KEPT = LIMIT / 4, FRAMES = 20 };
	const struct engine_options o = options(4, 150000);
	struct fixture f;
	uint64_t n;

	begin(&f, 2, BLOCKS, &o, LIMIT * (uint64_t)BLOCK, true);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	engine_prefetch(f.blobs[1]);
	EVENTUALLY(has_been_refused(&f, 1, 2));
	n = present(&f, 1);
	CHECK(n > 0 && stats(&f).bytes_cached <= (LIMIT - KEPT) * (uint64_t)BLOCK);
	for (uint32_t i = 1; i <= FRAMES; i++)
		CHECK_U64((uint64_t)need_frame(&f, 1, (uint32_t)stats(&f).frames_total / 2 - i), 0);
	check_no_fault(&f);
	CHECK(present(&f, 1) >= n + FRAMES);
	remove_blob(&f, 0); /* which can be evicted now */
	EVENTUALLY(served_blob_is_complete(f.blobs[1]));
	CHECK(all_right(&f, 1));
	check_no_fault(&f);
	end(&f);
}

/* A reader's step is larger than what he reads. */
static void prefetching_takes_nothing_of_what_a_reader_has_reserved(void)
{
	enum { LARGE = 4096 };
	const struct engine_options o = options(4, 150000);
	uint64_t limit = LARGE * (uint64_t)BLOCK, n;
	struct fixture f;
	uint32_t i;

	begin(&f, 1, LARGE, &o, limit, true);
	engine_prefetch(f.blobs[0]);
	EVENTUALLY(has_been_refused(&f, 0, 1));
	i = (uint32_t)stats(&f).frames_total;
	while (!f.blobs[0]->room.readers && i > 2) /* he has what is left of the other's first */
		CHECK_U64((uint64_t)need_frame(&f, 0, i -= 2), 0);
	CHECK(f.blobs[0]->room.readers > 1024 * 1024);
	n = present(&f, 0);
	EVENTUALLY(has_been_refused(&f, 0, 3));
	CHECK_U64(present(&f, 0), n);
	check_no_fault(&f);
	end(&f);
}

/* A frame that stays wrong, for which there was room. */
static void what_a_reader_gives_back_is_for_prefetching_if_it_was(void)
{
	const struct engine_options o = options(2, 150000);
	struct ask a;
	struct fixture f;

	log_set_level(LOG_QUIET);
	begin(&f, 1, BLOCKS, &o, 0, true);
	f.fake.corrupt = frame_of(&f, 0, 150).stored_offset;
	f.fake.n_corrupt = UINT_MAX;
	fake_gate(&f.fake, true);
	engine_prefetch(f.blobs[0]); /* which reserves more than it needs at first */
	fake_wait(&f.fake, 1);
	ask_frame(&a, &f, 0, 150);
	fake_wait(&f.fake, 2);
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a), EIO);
	EVENTUALLY(has_been_refused(&f, 0, 1)); /* at its end */
	CHECK_U64(f.blobs[0]->room.readers, 0);
	end(&f);
	log_set_level(LOG_NORMAL);
}

static void take_room(struct run *r, uint64_t bytes)
{
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(room_take(r, bytes, &err) == 0);
}

/* In parts, of which the first are for readers: the others may have been what was written. */
static void what_a_reader_gives_back_of_both_is_for_whom_it_was(void)
{
	enum { MUCH = 3 * BLOCK, MORE = 2 * BLOCK };
	const struct engine_options o = options(2, 150000);
	struct fixture f;
	struct run first, second;
	struct room *r;
	uint64_t rest;

	begin(&f, 1, BLOCKS, &o, 0, true);
	r = &f.blobs[0]->room;
	first = (struct run){ .blob = f.blobs[0], .level = PREFETCH };
	second = (struct run){ .blob = f.blobs[0], .level = DEMAND };
	take_room(&first, MUCH);
	rest = r->bytes;
	CHECK(rest > 0 && !r->readers);
	take_room(&second, rest + MORE);
	CHECK(r->bytes > 0 && r->readers == r->bytes);
	room_give_back(&second, MORE / 2);
	room_give_back(&second, MORE);
	CHECK_U64(r->bytes - r->readers, MORE / 2);
	room_give_back(&second, rest - MORE / 2);
	CHECK_U64(r->bytes - r->readers, rest);
	room_give_back(&first, MUCH);
	CHECK_U64(r->bytes - r->readers, rest + MUCH);
	end(&f);
}

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(a_full_store_is_an_error_after_the_deadline_and_no_more);
	RUN(after_the_first_nobody_waits_in_vain);
	RUN(who_waits_for_space_gets_it_when_others_go);
	RUN(prefetching_leaves_some_of_the_store_to_readers);
	RUN(prefetching_takes_nothing_of_what_a_reader_has_reserved);
	RUN(what_a_reader_gives_back_is_for_prefetching_if_it_was);
	RUN(what_a_reader_gives_back_of_both_is_for_whom_it_was);
	return tap_done();
}
