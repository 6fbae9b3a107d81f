// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Of what has come, what a reader is nearest to is worked on first, and what is waited for at once.
 */
#include "config.h"

#include "lib/serve/engine/part.h"
#include "tests/unit/engine_fixture.h"

enum { FETCHERS = 5 };

/*
 * Two have a turn; the others wait for one, of runs 12, 10 and 11. Each has one frame, in the midst
 * of the others'; the reader is between those of the third and the fourth.
 */
struct scene {
	struct engine e; /* first */
	struct served_blob blob, other;
	struct fetcher f[FETCHERS];
	struct flight flights[FETCHERS];
	atomic_bool taken[FETCHERS]; /* by their threads */
};

static void *wait_for_turn(void *arg)
{
	struct fetcher *f = arg;
	struct scene *s = (struct scene *)f->engine;

	turn_take(f);
	s->taken[f - s->f] = true;
	return NULL;
}

/* It is over: its thread has got so far. */
static void give(struct scene *s, unsigned i)
{
	EVENTUALLY(s->taken[i]);
	turn_give(&s->f[i]);
}

static unsigned waiting(struct scene *s)
{
	struct fetcher *f;
	unsigned n = 0;

	pthread_mutex_lock(&s->e.lock);
	TAILQ_FOREACH(f, &s->e.for_turn, of_turn)
	n++;
	pthread_mutex_unlock(&s->e.lock);
	return n;
}

static bool has_turn(struct scene *s, unsigned i)
{
	bool turn;

	pthread_mutex_lock(&s->e.lock);
	turn = s->f[i].turn;
	pthread_mutex_unlock(&s->e.lock);
	return turn;
}

#define HOUR (3600 * INT64_C(1000000))

/* Whoever waits has begun to so many microseconds from now. */
static void set_patience(struct scene *s, int64_t us)
{
	struct fetcher *f;

	pthread_mutex_lock(&s->e.lock);
	TAILQ_FOREACH(f, &s->e.for_turn, of_turn)
	f->waits_since = (uint64_t)((int64_t)engine_now() + us);
	pthread_mutex_unlock(&s->e.lock);
}

static void scene_begin(struct scene *s)
{
	static const uint64_t numbers[FETCHERS] = { 1, 2, 12, 10, 11 };

	*s = (struct scene){ .e.processors = 2 };
	pthread_mutex_init(&s->e.lock, NULL);
	TAILQ_INIT(&s->e.for_turn);
	s->blob.engine = s->other.engine = &s->e;
	s->blob.prefetch_number = 1;
	s->other.prefetch_number = 2;
	s->blob.ahead.last = 25;
	s->other.ahead.last = UINT32_MAX;
	for (uint32_t i = 0; i < FETCHERS; i++) {
		struct fetcher *f = &s->f[i];

		f->engine = &s->e;
		f->run = (struct run){ .blob = &s->blob, .level = PREFETCH };
		f->run.number = numbers[i];
		f->run.end = FETCHERS * 10;
		TAILQ_INIT(&s->flights[i].waiters);
		s->flights[i].frame = i * 10;
		f->run.flights[f->run.n++] = &s->flights[i];
		pthread_cond_init(&f->called, NULL);
		must(pthread_create(&f->thread, NULL, wait_for_turn, f) == 0, NULL);
		EVENTUALLY(i < 2 ? has_turn(s, i) : waiting(s) == i - 1);
	}
	CHECK(has_turn(s, 0) && has_turn(s, 1));
	CHECK_U64(waiting(s), 3);
	set_patience(s, HOUR);
}

static void scene_end(struct scene *s)
{
	while (s->e.at_turn) /* each gives it to one who waits */
		for (unsigned i = 0; i < FETCHERS; i++)
			if (has_turn(s, i))
				give(s, i);
	for (unsigned i = 0; i < FETCHERS; i++) {
		pthread_join(s->f[i].thread, NULL);
		pthread_cond_destroy(&s->f[i].called);
	}
	pthread_mutex_destroy(&s->e.lock);
}

/* The others' numbers are smaller than that of the one that he has passed. */
static void what_the_reader_is_nearest_to_is_the_first_to_be_worked_on(void)
{
	struct scene s;

	scene_begin(&s);
	give(&s, 0);
	CHECK(has_turn(&s, 3) && !has_turn(&s, 2) && !has_turn(&s, 4));
	give(&s, 3);
	CHECK(has_turn(&s, 4) && !has_turn(&s, 2));
	give(&s, 1);
	CHECK(has_turn(&s, 2));
	scene_end(&s);
}

/* He reads on, or back, while they wait. */
static void the_reader_is_where_he_is_now(void)
{
	struct scene s;

	scene_begin(&s);
	s.blob.ahead.last = 35;
	give(&s, 0);
	CHECK(has_turn(&s, 4) && !has_turn(&s, 2) && !has_turn(&s, 3));
	s.blob.ahead.last = 5;
	give(&s, 1);
	CHECK(has_turn(&s, 2) && !has_turn(&s, 3));
	scene_end(&s);
}

static void of_frames_as_near_as_each_other_the_first_begun_goes_first(void)
{
	struct scene s;

	scene_begin(&s);
	for (unsigned i = 0; i < FETCHERS; i++)
		s.flights[i].frame = 40;
	give(&s, 0);
	CHECK(has_turn(&s, 3));
	give(&s, 1);
	CHECK(has_turn(&s, 4) && !has_turn(&s, 2));
	scene_end(&s);
}

static void the_blob_that_was_read_last_goes_first(void)
{
	struct scene s;

	scene_begin(&s);
	s.f[2].run.blob = &s.other;
	give(&s, 0); /* nobody has read either */
	CHECK(has_turn(&s, 3) && !has_turn(&s, 2));
	s.other.ahead.read_at = 7;
	s.blob.ahead.read_at = 6;
	give(&s, 1);
	CHECK(has_turn(&s, 2) && !has_turn(&s, 4));
	scene_end(&s);
}

/* A second reader's, who is behind the first; and nobody reads the rest of that blob soon. */
static void what_is_read_ahead_goes_before_the_background(void)
{
	struct scene s;

	scene_begin(&s);
	s.blob.ahead.read_at = 6;
	s.f[2].run.level = AHEAD;
	s.flights[3].frame = 30000;
	s.flights[4].frame = 20000;
	give(&s, 0);
	CHECK(has_turn(&s, 2) && !has_turn(&s, 3));
	give(&s, 1);
	CHECK(has_turn(&s, 4) && !has_turn(&s, 3));
	scene_end(&s);
}

static void what_is_removed_waits_no_more(void)
{
	struct scene s;

	scene_begin(&s);
	s.f[2].run.blob = s.f[4].run.blob = &s.other;
	s.other.removed = true;
	pthread_mutex_lock(&s.e.lock);
	turn_end_locked(&s.other);
	pthread_mutex_unlock(&s.e.lock);
	CHECK(has_turn(&s, 2) && has_turn(&s, 4) && !has_turn(&s, 3));
	give(&s, 4);
	turn_take(&s.f[4]); /* or hang here, as for the next */
	turn_pass(&s.f[4]);
	CHECK(has_turn(&s, 4));
	scene_end(&s);
}

/* Though its frame is behind the reader; it came before the others. */
static void who_has_waited_for_long_goes_first(void)
{
	struct scene s;

	scene_begin(&s);
	EVENTUALLY(s.taken[0]);
	s.flights[0].frame = 26; /* nearer than all */
	turn_pass(&s.f[0]);
	CHECK(has_turn(&s, 0) && !has_turn(&s, 2));
	set_patience(&s, -2000000);
	give(&s, 0);
	CHECK(has_turn(&s, 2) && !has_turn(&s, 3) && !has_turn(&s, 4));
	scene_end(&s);
}

static void *pass(void *arg)
{
	turn_pass(arg);
	return NULL;
}

static bool is_waiting(struct scene *s, const struct fetcher *who)
{
	struct fetcher *f;
	bool found = false;

	pthread_mutex_lock(&s->e.lock);
	TAILQ_FOREACH(f, &s->e.for_turn, of_turn)
	found |= f == who;
	pthread_mutex_unlock(&s->e.lock);
	return found;
}

/* The first one's frame is behind the reader. */
static void between_frames_a_turn_goes_to_who_is_nearer(void)
{
	pthread_t thread;
	struct scene s;

	scene_begin(&s);
	EVENTUALLY(s.taken[0]);
	must(pthread_create(&thread, NULL, pass, &s.f[0]) == 0, NULL);
	EVENTUALLY(is_waiting(&s, &s.f[0]));
	CHECK(has_turn(&s, 3) && !has_turn(&s, 0) && !has_turn(&s, 2));
	give(&s, 3);
	CHECK(has_turn(&s, 4) && !has_turn(&s, 0));
	give(&s, 4);
	CHECK(has_turn(&s, 0) != has_turn(&s, 2)); /* both are behind him */
	give(&s, 1);
	CHECK(has_turn(&s, 0) && has_turn(&s, 2));
	pthread_join(thread, NULL);
	scene_end(&s);
}

static void who_is_nearest_or_waited_for_keeps_the_turn(void)
{
	struct scene s;
	struct want w;

	scene_begin(&s);
	EVENTUALLY(s.taken[0]);
	s.flights[0].frame = 26;
	turn_pass(&s.f[0]); /* or hang here */
	s.flights[0].frame = 0;
	TAILQ_INSERT_TAIL(&s.flights[0].waiters, &w, of_list);
	turn_pass(&s.f[0]);
	CHECK(has_turn(&s, 0));
	CHECK_U64(waiting(&s), 3);
	scene_end(&s);
}

static void what_somebody_waits_for_does_not_wait(void)
{
	struct fetcher more = { 0 };
	struct scene s;

	scene_begin(&s);
	pthread_mutex_lock(&s.e.lock);
	turn_hurry_locked(&s.blob, 25); /* nobody's */
	turn_hurry_locked(&s.blob, 20);
	pthread_mutex_unlock(&s.e.lock);
	CHECK(has_turn(&s, 2) && !has_turn(&s, 3) && !has_turn(&s, 4));
	give(&s, 0); /* two are still at it */
	CHECK(!has_turn(&s, 3));
	more.engine = &s.e;
	more.run.level = DEMAND;
	turn_take(&more); /* or hang here */
	turn_give(&more);
	give(&s, 1);
	CHECK(has_turn(&s, 3));
	give(&s, 2);
	CHECK(has_turn(&s, 4));
	scene_end(&s);
}

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(what_the_reader_is_nearest_to_is_the_first_to_be_worked_on);
	RUN(the_reader_is_where_he_is_now);
	RUN(of_frames_as_near_as_each_other_the_first_begun_goes_first);
	RUN(the_blob_that_was_read_last_goes_first);
	RUN(what_is_read_ahead_goes_before_the_background);
	RUN(what_is_removed_waits_no_more);
	RUN(who_has_waited_for_long_goes_first);
	RUN(between_frames_a_turn_goes_to_who_is_nearer);
	RUN(who_is_nearest_or_waited_for_keeps_the_turn);
	RUN(what_somebody_waits_for_does_not_wait);
	return tap_done();
}
