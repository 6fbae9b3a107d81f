// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <sys/resource.h>

#include "lib/serve/linger.h"
#include "tests/unit/tap.h"

#define SOON (LINGER / 2)
#define LATE (10 * LINGER)

/* As if nobody had taken the processor since, or somebody had; which nobody really does meanwhile.
 */
static void learn(struct lingerer *l, uint64_t waited, bool preempted)
{
	struct rusage before, after;
	struct lingerer next;

	do {
		getrusage(RUSAGE_THREAD, &before);
		next = *l;
		next.preempted = before.ru_nivcsw - preempted;
		linger_learn(&next, waited);
		getrusage(RUSAGE_THREAD, &after);
	} while (before.ru_nivcsw != after.ru_nivcsw);
	*l = next;
}

/* Requests, one after the other, until it is as wanted; so many at most. */
static unsigned count(struct lingerer *l, uint64_t waited, bool wanted)
{
	unsigned n = 0;

	while (linger_pays(l) != wanted && n < 100) {
		learn(l, waited, false);
		n++;
	}
	return n;
}

static void it_begins_shy(void)
{
	struct lingerer l = { 0 };

	CHECK(!linger_pays(&l));
	learn(&l, LATE, false);
	CHECK(!linger_pays(&l));
	learn(&l, SOON, false);
	CHECK(linger_pays(&l));
}

static void it_is_left_when_it_does_not_pay(void)
{
	struct lingerer l = { 0 };

	learn(&l, SOON, false);
	CHECK_U64(count(&l, LATE, false), 8u);
}

static void one_request_in_time_is_enough(void)
{
	struct lingerer l = { 0 };

	learn(&l, SOON, false);
	for (int i = 0; i < 7; i++)
		learn(&l, LATE, false);
	learn(&l, SOON, false);
	CHECK_U64(count(&l, LATE, false), 8u);
}

static void others_get_the_processor_that_they_want(void)
{
	struct lingerer l = { 0 };

	learn(&l, SOON, false);
	learn(&l, SOON, true);
	CHECK(!linger_pays(&l));
	CHECK_U64(count(&l, SOON, true), 17);
}

static void who_does_not_linger_takes_nothing(void)
{
	struct lingerer l = { 0 };

	learn(&l, SOON, true);
	CHECK(linger_pays(&l));
}

int main(void)
{
	RUN(it_begins_shy);
	RUN(it_is_left_when_it_does_not_pay);
	RUN(one_request_in_time_is_enough);
	RUN(others_get_the_processor_that_they_want);
	RUN(who_does_not_linger_takes_nothing);
	return tap_done();
}
