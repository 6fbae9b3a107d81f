// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Blobs that are complete, blobs that go, and an engine that stops. */
#include "config.h"

#include "tests/unit/engine_scene.h"

#include <stdatomic.h>

/* --- complete --- */

static atomic_uint completed;

static void note_completed(void *fixture)
{
	const struct fixture *f = fixture;

	CHECK(served_blob_is_complete(f->blobs[0]));
	CHECK_U64((uint64_t)engine_need(f->blobs[0], 0, UINT64_MAX), 0); /* no lock is held */
	completed++;
}

static void begin_noting(struct fixture *f)
{
	struct engine_options o = options(2, 150000);

	completed = 0;
	begin(f, 2, BLOCKS, &o, 0, false);
	f->completed = note_completed;
	add_blob(f, 0, NULL);
	f->completed = NULL;
	add_blob(f, 1, NULL);
}

static void the_last_frame_is_told_once_it_is_synced(void)
{
	struct fixture f;

	begin_noting(&f);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, FRAME), 0);
	CHECK_U64((uint64_t)engine_need(f.blobs[1], 0, UINT64_MAX), 0);
	EVENTUALLY(served_blob_is_complete(f.blobs[1]));
	CHECK_U64(completed, 0);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	EVENTUALLY(completed == 1);
	engine_prefetch(f.blobs[0]);
	remove_blob(&f, 0);
	f.completed = note_completed;
	add_blob(&f, 0, NULL); /* complete from the beginning */
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	end(&f);
	CHECK_U64(completed, 1);
}

/* --- gone --- */

/* Or hang here: the gate stays closed. */
static void a_slow_source_keeps_no_blob(void)
{
	struct ask a[3];
	struct fixture f;
	struct engine_options o = options(2, 150000);

	begin(&f, 2, BLOCKS, &o, 0, true);
	fake_gate(&f.fake, true);
	ask_frame(&a[0], &f, 0, 20);
	ask_frame(&a[1], &f, 1, 20);
	fake_wait(&f.fake, 2);
	remove_blob(&f, 0);
	CHECK_U64((uint64_t)ask_wait(&a[0]), EIO);
	CHECK(!ask_is_done(&a[1]));
	CHECK_U64(f.fake.cancelled[1], 0);
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a[1]), 0); /* the other one was not disturbed */
	CHECK_U64(fake_requests(&f.fake), 2);
	CHECK_U64(stats(&f).errors, 0);
	end(&f);
}

static void a_slow_source_keeps_no_engine(void)
{
	struct fixture f;
	struct ask a[2];

	begin_busy(&f, &a[0], 0, 1);
	ask(&a[1], f.blobs[0], 0, UINT64_MAX);
	engine_prefetch(f.blobs[0]);
	engine_stop(f.engine);
	CHECK_U64((uint64_t)ask_wait(&a[0]), EIO);
	CHECK_U64((uint64_t)ask_wait(&a[1]), EIO);
	f.engine = NULL;
	f.blobs[0] = NULL;
	end(&f);
}

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
	f.fake.source.cancel = NULL;
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
	f.fake.source.cancel = NULL;
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

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(the_last_frame_is_told_once_it_is_synced);
	RUN(a_slow_source_keeps_no_blob);
	RUN(a_slow_source_keeps_no_engine);
	RUN(who_waits_for_a_blob_that_goes_gets_an_error_at_once);
	RUN(who_waits_when_the_engine_stops_gets_an_error_at_once);
	RUN(what_was_fetched_is_there_the_next_time);
	return tap_done();
}
