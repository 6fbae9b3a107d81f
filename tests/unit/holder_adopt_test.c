// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What a holder that was killed while it took an event leaves to the next one (linked with --wrap
 * for the moment in which it notes one).
 */
#include "config.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>

#include "tests/unit/holder_fixture.h"
#include "tests/unit/random.h"

enum { NUMBER = 300 }; /* of the event that was on its way */

/* --- the instant before an event is noted --- */

static struct {
	const struct world *w; /* NULL: nobody looks */
	unsigned times;
	uint32_t size; /* of what is coming, at the last */
	int fd; /* its number */
	bool noted;
} instant;

uint64_t __real_holder_now(void);
uint64_t __wrap_holder_now(void);

static bool is_noted(const struct world *w, int fd)
{
	for (uint32_t i = 0; i < REQUESTS_MAX; i++)
		if (w->r->slots[i].state != REQUEST_FREE && w->r->slots[i].fd == fd)
			return true;
	return false;
}

uint64_t __wrap_holder_now(void)
{
	struct event_bytes e;

	if (instant.w) {
		memcpy(&e, instant.w->r->coming.bytes, sizeof(e));
		instant.times++;
		instant.size = instant.w->r->coming.size;
		instant.fd = e.m.fd;
		instant.noted = is_noted(instant.w, e.m.fd);
	}
	return __real_holder_now();
}

/* --- the kernel --- */

static struct answers {
	struct world *w;
	unsigned n[EVENT_NUMBER_MAX]; /* of each number */
	uint32_t last[EVENT_NUMBER_MAX]; /* response */
	unsigned others, again; /* numbers that are no event's; EAGAINs in all */
} answers;

enum { THE_END = -77 };

/* The socket's queue is short. */
static void *hear_all(void *arg)
{
	struct world *w = arg;
	struct pollfd p = { .fd = w->kernel, .events = POLLIN };
	struct fanotify_response r;

	while (poll(&p, 1, 60000) == 1 && recv(w->kernel, &r, sizeof(r), 0) == sizeof(r)) {
		if (r.fd == THE_END)
			return NULL;
		answers.again += r.response == (FAN_DENY | (uint32_t)EAGAIN << 24);
		if (r.fd < 0 || r.fd >= EVENT_NUMBER_MAX) {
			answers.others++;
			continue;
		}
		answers.n[r.fd]++;
		answers.last[r.fd] = r.response;
	}
	CHECK(!"it says when it is done");
	return NULL;
}

static void adopt(struct world *w)
{
	const struct fanotify_response end = { .fd = THE_END };
	pthread_t kernel;

	memset(&answers, 0, sizeof(answers));
	if (w->h->group < 0) {
		held_adopt(w->h);
		return;
	}
	CHECK(fcntl(w->h->group, F_SETFL, 0) == 0); /* its answers wait for room */
	CHECK(pthread_create(&kernel, NULL, hear_all, w) == 0);
	held_adopt(w->h);
	CHECK(write(w->h->group, &end, sizeof(end)) == sizeof(end));
	pthread_join(kernel, NULL);
	CHECK(fcntl(w->h->group, F_SETFL, O_NONBLOCK) == 0);
	CHECK_U64(answers.others, 0);
}

static void leave(struct world *w, const void *bytes, size_t n)
{
	memset(&w->r->coming, 0, sizeof(w->r->coming));
	memcpy(w->r->coming.bytes, bytes, n);
}

static void leave_event(struct world *w, int fd)
{
	const struct event_bytes e = event_of(fd, 4096, 8192);

	leave(w, &e, sizeof(e));
}

static void put(struct world *w, uint32_t slot, int fd, uint32_t state)
{
	w->r->slots[slot] = (struct held_request){
		.fd = fd, .dev = 1, .ino = 5, .len = 1, .deadline = holder_now() + SECOND
	};
	w->r->slots[slot].state = state;
}

/* The one slot that has this state and number; -1: none, or several. */
static int slot_of(const struct world *w, int fd, uint32_t state)
{
	int found = -1;

	for (int i = 0; i < REQUESTS_MAX; i++)
		if (w->r->slots[i].state == state && w->r->slots[i].fd == fd) {
			if (found >= 0)
				return -1;
			found = i;
		}
	return found;
}

static unsigned slots_in_use(const struct world *w)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < REQUESTS_MAX; i++)
		n += w->r->slots[i].state != REQUEST_FREE;
	return n;
}

static bool is_announced(const struct world *w, int slot)
{
	for (uint32_t i = 0; i < w->r->head; i++)
		if (w->r->ring[i % REQUESTS_MAX] == (uint32_t)slot)
			return true;
	return false;
}

/* It is a request whose file is not known, and nobody was told anything of it yet. */
static struct held_request *check_noted(struct world *w, int fd)
{
	int slot = slot_of(w, fd, REQUEST_PENDING);
	struct held_request *q = &w->r->slots[slot < 0 ? 0 : slot];

	CHECK(slot >= 0);
	CHECK_U64(q->ino, 0);
	CHECK_U64(q->dev, 0);
	CHECK_U64(q->offset, 4096);
	CHECK_U64(q->len, 8192);
	CHECK_U64((uint64_t)q->pid, 7);
	CHECK(q->deadline > holder_now() && q->deadline <= holder_now() + w->h->deadline);
	CHECK(is_announced(w, slot));
	CHECK_U64(answers.n[fd], 0);
	CHECK_U64(w->r->coming.size, 0);
	return q;
}

static void check_no_slot_is_lost(const struct world *w)
{
	CHECK_U64(w->h->n_free + w->h->n_used, REQUESTS_MAX);
	CHECK_U64(w->h->n_used, slots_in_use(w));
}

/* --- what is proved --- */

static void what_was_read_and_not_noted_becomes_a_request_of_an_unknown_file(void)
{
	struct world w = begin();
	struct held_request *q;
	uint64_t n;

	leave_event(&w, NUMBER);
	adopt(&w);
	q = check_noted(&w, NUMBER);
	CHECK_U64(slots_in_use(&w), 1);
	CHECK_U64(w.r->read, 1);
	CHECK_U64(w.r->denied, EVENT_NUMBER_MAX - 1); /* all others, here */
	CHECK_U64(answers.again, EVENT_NUMBER_MAX - 1);
	CHECK(read(w.h->wake, &n, sizeof(n)) == sizeof(n));
	CHECK(is_open(NUMBER)); /* no new event gets it, ... */
	check_no_slot_is_lost(&w);
	q->state = REQUEST_ANSWERED;
	held_sweep(w.h, holder_now());
	CHECK(!is_open(NUMBER)); /* ... until it is answered */
	CHECK_U64(w.h->n_free, REQUESTS_MAX);
	end(&w);
}

static void it_has_a_deadline_as_all_others(void)
{
	struct world w = begin();
	struct held_request *q;

	leave_event(&w, NUMBER);
	adopt(&w);
	q = check_noted(&w, NUMBER);
	held_sweep(w.h, q->deadline - 1);
	CHECK_U64(q->state, REQUEST_PENDING);
	held_sweep(w.h, q->deadline);
	check_denied(&w, q);
	CHECK_U64(q->state, REQUEST_FREE);
	CHECK(!is_open(NUMBER));
	end(&w);
}

static void what_is_noted_already_is_not_noted_twice(void)
{
	static const uint32_t live[] = { REQUEST_PENDING, REQUEST_TAKEN, REQUEST_ANSWERING };

	for (unsigned i = 0; i < 3; i++) {
		struct world w = begin();

		put(&w, 7, NUMBER, live[i]);
		leave_event(&w, NUMBER);
		adopt(&w);
		CHECK_U64(slots_in_use(&w), 1);
		CHECK_U64(w.r->slots[7].state, live[i]);
		CHECK_U64(w.r->slots[7].ino, 5);
		CHECK_U64(answers.n[NUMBER], 0);
		CHECK_U64(w.r->coming.size, 0);
		CHECK(is_open(NUMBER));
		check_no_slot_is_lost(&w);
		close(NUMBER);
		end(&w);
	}
}

/* Once more, by a third one: the second was killed as well. */
static void nor_is_it_by_a_third_holder(void)
{
	struct world w = begin();
	struct event_bytes e = event_of(NUMBER, 4096, 8192);

	leave_event(&w, NUMBER);
	adopt(&w);
	check_noted(&w, NUMBER);
	leave(&w, &e, sizeof(e)); /* it had not come to clear that */
	w.h->n_free = w.h->n_used = w.h->free_at = 0;
	w.r->head = 0;
	adopt(&w);
	check_noted(&w, NUMBER);
	CHECK_U64(slots_in_use(&w), 1);
	check_no_slot_is_lost(&w);
	close(NUMBER);
	end(&w);
}

/* A number whose read was given up may be a new event's. */
static void the_number_of_one_that_expired_may_be_the_new_ones(void)
{
	static const uint32_t expired[][2] = { { 0, 0 }, { 9, 9 }, { 0, 9 },
		{ 9, REQUESTS_MAX - 1 } };

	for (unsigned i = 0; i < 4; i++) {
		struct world w = begin();
		struct held_request *q;

		put(&w, expired[i][0], NUMBER, REQUEST_EXPIRED);
		put(&w, expired[i][1], NUMBER, REQUEST_EXPIRED);
		leave_event(&w, NUMBER);
		adopt(&w);
		q = check_noted(&w, NUMBER);
		CHECK(is_open(NUMBER));
		check_no_slot_is_lost(&w);
		CHECK_U64(w.r->slots[expired[i][0]].state, REQUEST_EXPIRED);
		w.r->slots[expired[i][0]].state =
			REQUEST_ANSWERED; /* who had the old one lets go */
		w.r->slots[expired[i][1]].state = REQUEST_ANSWERED;
		held_sweep(w.h, holder_now());
		CHECK_U64(slots_in_use(&w), 1);
		CHECK_U64(q->state, REQUEST_PENDING);
		CHECK(is_open(NUMBER));
		check_no_slot_is_lost(&w);
		close(NUMBER);
		end(&w);
	}
}

static void the_number_of_one_that_expired_is_denied_where_nothing_came(void)
{
	struct world w = begin();

	put(&w, 9, NUMBER, REQUEST_EXPIRED);
	adopt(&w);
	CHECK_U64(answers.n[NUMBER], 1);
	CHECK_U64(answers.last[NUMBER], FAN_DENY | (uint32_t)EIO << 24);
	CHECK_U64(w.r->slots[9].state, REQUEST_EXPIRED);
	CHECK(!is_open(NUMBER));
	check_no_slot_is_lost(&w);
	end(&w);
}

/* Each of them lies before a range of the number. */
static const struct fanotify_event_metadata lies[] = {
	{ .event_len = 0 }, { .event_len = 1 }, { .event_len = 23 }, { .event_len = 25 },
	{ .event_len = 47 }, { .event_len = 49 }, { .event_len = UINT32_MAX },
	{ .event_len = 48, .metadata_len = 0 }, { .event_len = 48, .metadata_len = 23 },
	{ .event_len = 48, .metadata_len = 25 },
	{ .event_len = 48, .metadata_len = 48 }, /* without a range */
	{ .event_len = 48, .metadata_len = 49 }, { .event_len = 48, .metadata_len = UINT16_MAX },
	{ .event_len = 48, .metadata_len = 24, .vers = 99 },
	{ .event_len = 24, .metadata_len = 24 }, /* without a range, and then rubbish */
};

static void check_nothing_is_noted(struct world *w)
{
	CHECK_U64(slots_in_use(w), 0);
	CHECK_U64(w->r->coming.size, 0);
	CHECK_U64(w->r->denied, EVENT_NUMBER_MAX);
	CHECK_U64(answers.again, EVENT_NUMBER_MAX);
	CHECK_U64(w->h->n_free, REQUESTS_MAX);
	CHECK_U64(w->r->head, 0);
}

static void what_is_no_event_with_a_range_is_denied_as_if_it_were_not_there(void)
{
	for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		struct world w = begin();
		struct event_bytes e = event_of(NUMBER, 4096, 8192);

		e.m.event_len = lies[i].event_len;
		if (lies[i].metadata_len)
			e.m.metadata_len = lies[i].metadata_len;
		else if (lies[i].event_len == 48)
			e.m.metadata_len = 0;
		if (lies[i].vers)
			e.m.vers = lies[i].vers;
		leave(&w, &e, sizeof(e));
		adopt(&w);
		check_nothing_is_noted(&w);
		CHECK(!is_open(NUMBER));
		end(&w);
	}
}

static void two_events_without_a_range_are_denied(void)
{
	struct world w = begin();
	struct event_bytes e[2] = { event_of(NUMBER, 0, 0), event_of(NUMBER + 1, 0, 0) };
	char bytes[EVENT_SIZE];

	for (unsigned i = 0; i < 2; i++) {
		e[i].m.event_len = sizeof(e->m);
		memcpy(bytes + i * sizeof(e->m), &e[i].m, sizeof(e->m));
	}
	leave(&w, bytes, sizeof(bytes));
	adopt(&w);
	check_nothing_is_noted(&w);
	end(&w);
}

static void nobody_waits_for_an_event_that_is_none_to_be_answered(void)
{
	struct world w = begin();
	struct event_bytes e = event_of(NUMBER, 4096, 8192);

	e.m.mask = FAN_OPEN;
	leave(&w, &e, sizeof(e));
	adopt(&w);
	check_nothing_is_noted(&w);
	end(&w);
}

static void numbers_that_are_no_events_are_not_noted(void)
{
	static const int numbers[] = { -1, 0, 2, EVENT_NUMBER_MAX, INT_MAX, INT_MIN };

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		struct world w = begin();

		leave_event(&w, numbers[i]);
		adopt(&w);
		check_nothing_is_noted(&w);
		end(&w);
	}
}

/* One above all that are ours: a former holder had a higher limit. It has no place to be held. */
static void a_number_above_the_events_is_noted(void)
{
	static const int numbers[] = { BASE, EVENT_NUMBER_MAX - 1 };

	for (unsigned i = 0; i < 2; i++) {
		struct world w = begin();
		bool was_open = is_open(numbers[i]);

		leave_event(&w, numbers[i]);
		adopt(&w);
		check_noted(&w, numbers[i])->state = REQUEST_ANSWERED;
		held_sweep(w.h, holder_now());
		CHECK(is_open(numbers[i]) == was_open);
		CHECK_U64(w.h->n_free, REQUESTS_MAX);
		end(&w);
	}
}

static void where_all_slots_are_in_use_it_is_denied(void)
{
	const int number = EVENT_NUMBER_MIN + REQUESTS_MAX;
	struct world w = begin();

	w.h->base = 0; /* no places are held */
	for (int i = 0; i < REQUESTS_MAX; i++)
		put(&w, (uint32_t)i, EVENT_NUMBER_MIN + i, i % 2 ? REQUEST_PENDING : REQUEST_TAKEN);
	leave_event(&w, number);
	adopt(&w);
	CHECK_U64(slots_in_use(&w), REQUESTS_MAX);
	for (int i = 0; i < REQUESTS_MAX; i++)
		if (w.r->slots[i].fd != EVENT_NUMBER_MIN + i || w.r->slots[i].ino != 5)
			CHECK(!"each slot keeps its request");
	CHECK_U64(answers.n[number], 1);
	CHECK_U64(answers.last[number], FAN_DENY | (uint32_t)EAGAIN << 24);
	CHECK_U64(w.r->denied, EVENT_NUMBER_MAX - REQUESTS_MAX);
	CHECK_U64(w.r->coming.size, 0);
	CHECK_U64(w.h->n_free, 0);
	end(&w);
}

static void without_a_group_it_is_forgotten(void)
{
	struct world w = begin();
	int group = w.h->group;

	w.h->group = -1;
	put(&w, 3, NUMBER + 1, REQUEST_TAKEN);
	leave_event(&w, NUMBER);
	adopt(&w);
	CHECK_U64(slots_in_use(&w), 0);
	CHECK_U64(w.r->coming.size, 0);
	CHECK_U64(w.r->read, 0);
	CHECK_U64(w.r->denied, 0);
	CHECK_U64(w.h->n_free, REQUESTS_MAX);
	CHECK(!is_open(NUMBER) && !is_open(NUMBER + 1));
	w.h->group = group;
	end(&w);
}

/* Whatever is there: at most one request, and that of an event's number. */
static void no_bytes_do_harm(void)
{
	uint64_t seed = 11;

	for (unsigned round = 0; round < 300; round++) {
		struct world w = begin();
		struct event_bytes e = event_of(BASE + 1 + (int)random_below(&seed, 2000), 0, 1);
		unsigned char bytes[EVENT_SIZE];

		memcpy(bytes, &e, sizeof(e));
		for (uint64_t n = random_below(&seed, 6); n; n--)
			bytes[random_below(&seed, 16)] ^= 1U << random_below(&seed, 8);
		for (uint64_t n = random_below(&seed, 3); n; n--)
			bytes[random_below(&seed, sizeof(bytes))] =
				(unsigned char)random_u64(&seed);
		leave(&w, bytes, sizeof(bytes));
		dup2(w.h->null, w.h->group); /* who hears all answers */
		w.h->base = 0;
		held_adopt(w.h);
		CHECK_U64(w.r->coming.size, 0);
		CHECK(slots_in_use(&w) <= 1 && w.h->n_used == slots_in_use(&w));
		for (unsigned i = 0; i < w.h->n_used; i++) {
			const struct held_request *q = &w.r->slots[w.h->used[i]];

			CHECK(q->state == REQUEST_PENDING && !q->ino);
			CHECK(q->fd >= EVENT_NUMBER_MIN && q->fd < EVENT_NUMBER_MAX);
		}
		check_no_slot_is_lost(&w);
		end(&w);
	}
}

/* --- the holder that is killed --- */

static void an_event_can_be_found_until_it_is_noted(void)
{
	struct world w = begin();

	start(&w);
	for (unsigned i = 0; i < 40; i++) { /* more than are read at once */
		int fd = dup(w.h->null);

		instant.w = &w;
		instant.times = 0;
		raise_event(&w, fd, 4096, 8192);
		held_read(w.h);
		instant.w = NULL;
		CHECK_U64(instant.times, 1);
		CHECK_U64(instant.size, EVENT_SIZE);
		CHECK_U64((uint64_t)instant.fd, (uint64_t)fd);
		CHECK(!instant.noted);
		CHECK(is_noted(&w, fd));
		CHECK_U64(w.r->coming.size, 0);
	}
	CHECK_U64(w.r->head, 40);
	end(&w);
}

static void of_several_that_are_read_at_once_each_can_be_found(void)
{
	struct world w = begin();
	int fd[5];

	start(&w);
	for (unsigned i = 0; i < 5; i++) {
		fd[i] = dup(w.h->null);
		raise_event(&w, fd[i], i * 4096, 1);
	}
	instant.w = &w;
	instant.times = 0;
	held_read(w.h);
	instant.w = NULL;
	CHECK_U64(instant.times, 5);
	CHECK_U64((uint64_t)instant.fd, (uint64_t)fd[4]);
	CHECK_U64(instant.size, EVENT_SIZE);
	for (unsigned i = 0; i < 5; i++)
		CHECK(is_noted(&w, fd[i]));
	CHECK_U64(w.r->coming.size, 0);
	end(&w);
}

static void what_is_denied_at_once_is_no_longer_coming(void)
{
	struct world w = begin();
	int fd = fcntl(w.h->null, F_DUPFD_CLOEXEC, BASE);
	uint32_t response = 0;

	start(&w);
	raise_event(&w, fd, 0, 1);
	held_read(w.h);
	CHECK(heard(&w, &response) == fd);
	CHECK_U64(response, FAN_DENY | (uint32_t)EIO << 24);
	CHECK_U64(slots_in_use(&w), 0);
	CHECK_U64(w.r->coming.size, 0);
	CHECK(write(w.kernel, "rubbish", 7) == 7);
	held_read(w.h);
	CHECK_U64(w.r->coming.size, 0);
	w.h->group = -1;
	end(&w);
}

int main(void)
{
	RUN(what_was_read_and_not_noted_becomes_a_request_of_an_unknown_file);
	RUN(it_has_a_deadline_as_all_others);
	RUN(what_is_noted_already_is_not_noted_twice);
	RUN(nor_is_it_by_a_third_holder);
	RUN(the_number_of_one_that_expired_may_be_the_new_ones);
	RUN(the_number_of_one_that_expired_is_denied_where_nothing_came);
	RUN(what_is_no_event_with_a_range_is_denied_as_if_it_were_not_there);
	RUN(two_events_without_a_range_are_denied);
	RUN(nobody_waits_for_an_event_that_is_none_to_be_answered);
	RUN(numbers_that_are_no_events_are_not_noted);
	RUN(a_number_above_the_events_is_noted);
	RUN(where_all_slots_are_in_use_it_is_denied);
	RUN(without_a_group_it_is_forgotten);
	RUN(no_bytes_do_harm);
	RUN(an_event_can_be_found_until_it_is_noted);
	RUN(of_several_that_are_read_at_once_each_can_be_found);
	RUN(what_is_denied_at_once_is_no_longer_coming);
	return tap_done();
}
