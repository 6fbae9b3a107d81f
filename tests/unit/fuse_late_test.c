// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Who need not wait a second time, and who may. */
#include "config.h"

#include <errno.h>

#include "lib/serve/transport/fuse_late.h"
#include "tests/unit/tap.h"

static const struct late_read READ = { .node = 7, .offset = 8192, .len = 4096 };

static void the_same_bytes_fail_at_once_for_a_moment(void)
{
	struct late l;

	late_init(&l);
	CHECK_U64((uint64_t)late_find(&l, &READ, 5000), 0);
	late_note(&l, &READ, 0, 5000, ENOSPC);
	CHECK_U64((uint64_t)late_find(&l, &READ, 5001), ENOSPC);
	CHECK_U64((uint64_t)late_find(&l, &READ, 5000 + LATE_FRESH), 0);
	late_destroy(&l);
}

static void other_bytes_may_wait(void)
{
	struct late_read other = READ;
	struct late l;

	late_init(&l);
	late_note(&l, &READ, 0, 5000, EIO);
	other.offset = READ.offset + READ.len;
	CHECK_U64((uint64_t)late_find(&l, &other, 5001), 0);
	other.offset--;
	CHECK_U64((uint64_t)late_find(&l, &other, 5001), EIO);
	other.offset = READ.offset - READ.len;
	CHECK_U64((uint64_t)late_find(&l, &other, 5001), 0);
	other = READ;
	other.node++;
	CHECK_U64((uint64_t)late_find(&l, &other, 5001), 0);
	late_destroy(&l);
}

static void what_failed_soon_may_be_tried_again(void)
{
	struct late l;

	late_init(&l);
	late_note(&l, &READ, 5000 - LATE_AFTER + 1, 5000, EIO);
	CHECK_U64((uint64_t)late_find(&l, &READ, 5000), 0);
	late_note(&l, &READ, 5000 - LATE_AFTER, 5000, EIO);
	CHECK_U64((uint64_t)late_find(&l, &READ, 5000), EIO);
	late_destroy(&l);
}

static void the_last_failures_are_remembered(void)
{
	struct late_read read = READ;
	struct late l;

	late_init(&l);
	for (read.node = 1; read.node <= LATE_MAX + 1; read.node++)
		late_note(&l, &read, 0, 5000, EIO);
	for (read.node = 2; read.node <= LATE_MAX + 1; read.node++)
		CHECK_U64((uint64_t)late_find(&l, &read, 5001), EIO);
	read.node = 1;
	CHECK_U64((uint64_t)late_find(&l, &read, 5001), 0);
	late_destroy(&l);
}

int main(void)
{
	RUN(the_same_bytes_fail_at_once_for_a_moment);
	RUN(other_bytes_may_wait);
	RUN(what_failed_soon_may_be_tried_again);
	RUN(the_last_failures_are_remembered);
	return tap_done();
}
