// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* A store that is full. */
#include "config.h"

#include "tests/unit/engine_fixture.h"

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

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(a_full_store_is_an_error_after_the_deadline_and_no_more);
	RUN(after_the_first_nobody_waits_in_vain);
	RUN(who_waits_for_space_gets_it_when_others_go);
	return tap_done();
}
