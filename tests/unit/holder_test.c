// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The holder's table of requests, with a socket in the place of the fanotify group. */
#include "config.h"

#include "tests/unit/holder_fixture.h"

static void an_event_becomes_a_pending_request_and_wakes_the_worker(void)
{
	struct world w = begin();
	struct held_request *q;
	uint64_t n;

	start(&w);
	CHECK(read(w.h->wake, &n, sizeof(n)) == sizeof(n));
	q = one_request(&w);
	CHECK_U64(w.r->head, 1);
	CHECK_U64(q->state, REQUEST_PENDING);
	CHECK_U64(q->offset, 4096);
	CHECK_U64(q->len, 8192);
	CHECK_U64((uint64_t)q->pid, 7);
	CHECK(is_open(q->fd));
	CHECK(read(w.h->wake, &n, sizeof(n)) == sizeof(n));
	end(&w);
}

/* The table says of /dev/null, which all events here are of, that two granules are there. */
static void know_null(struct world *w, struct presence_id *id)
{
	CLEANUP_FD int fd = presence_create();
	uint64_t size;
	int slot;

	hits_know(w->h, fd);
	CHECK(w->h->presence && presence_identify(w->h->null, id, &size) == 0);
	id->born += !id->born; /* some kernels say none of devices */
	slot = presence_add(w->h->presence, id, 4 * PRESENCE_GRANULE, 0);
	CHECK(slot >= 0);
	presence_set(w->h->presence, (uint32_t)slot, 1, true);
	presence_set(w->h->presence, (uint32_t)slot, 2, true);
}

/* True: at once, and it is closed; with the number that the event had. */
static bool is_let_go(struct world *w, uint64_t offset, uint64_t len)
{
	int fd = dup(w->h->null);
	uint32_t response = 0, head = w->r->head;

	raise_event(w, fd, offset, len);
	held_read(w->h);
	if (heard(w, &response) != fd || response != FAN_ALLOW)
		return false;
	CHECK_U64(w->r->head, head);
	CHECK(!is_open(fd));
	return true;
}

static void what_is_there_is_let_go_without_the_worker(void)
{
	const uint64_t granule = PRESENCE_GRANULE;
	struct world w = begin();
	struct presence_id id, real;
	uint64_t size, n;

	start(&w);
	know_null(&w, &id);
	CHECK(presence_identify(w.h->null, &real, &size) == 0);
	if (!real.born) { /* then there is no entry of it: at least that is so */
		CHECK(!is_let_go(&w, granule, 1));
		hits_forget(w.h);
		end(&w);
		return;
	}
	CHECK(read(w.h->wake, &n, sizeof(n)) == sizeof(n));
	for (unsigned i = 0; i < 3 * REQUESTS_MAX; i++) /* slots are not used up */
		if (!is_let_go(&w, granule + i % 100, granule))
			CHECK(!"each is let go");
	CHECK(read(w.h->wake, &n, sizeof(n)) < 0); /* the worker is not woken for each, ... */
	CHECK_U64(w.h->presence->head, 1);
	CHECK(hits_tell(w.h, holder_now()) == UINT64_MAX); /* ... but for where they were */
	CHECK(read(w.h->wake, &n, sizeof(n)) == sizeof(n));
	CHECK_U64(w.r->read, 3 * REQUESTS_MAX);
	CHECK_U64(w.r->answered, 3 * REQUESTS_MAX);
	CHECK_U64(w.h->n_free, REQUESTS_MAX);
	CHECK(!is_let_go(&w, granule - 1, 2) && !is_let_go(&w, 2 * granule, 2 * granule));
	CHECK_U64(w.r->head, 2);
	w.h->ready = true;
	w.r->worker_pid = 7; /* who has not taken the table over */
	CHECK(!is_let_go(&w, granule, 1));
	w.h->presence->owner = 7;
	CHECK(is_let_go(&w, granule, 1));
	hits_forget(w.h);
	CHECK(!is_let_go(&w, granule, 1));
	end(&w);
}

static void an_answered_request_is_closed_and_only_then_free(void)
{
	struct world w = begin();
	struct held_request *q;

	start(&w);
	q = one_request(&w);
	q->state = REQUEST_TAKEN;
	held_sweep(w.h, holder_now());
	CHECK_U64(q->state, REQUEST_TAKEN);
	CHECK(is_open(q->fd));
	q->state = REQUEST_ANSWERED;
	held_sweep(w.h, holder_now());
	CHECK_U64(q->state, REQUEST_FREE);
	CHECK(!is_open(q->fd));
	end(&w);
}

static void at_its_deadline_a_pending_request_is_denied_with_eio(void)
{
	struct world w = begin();
	struct held_request *q;
	uint32_t response;

	start(&w);
	q = one_request(&w);
	held_sweep(w.h, q->deadline - 1);
	CHECK_U64(q->state, REQUEST_PENDING);
	CHECK(heard(&w, &response) == -1);
	held_sweep(w.h, q->deadline);
	CHECK_U64(q->state, REQUEST_FREE);
	CHECK(!is_open(q->fd));
	check_denied(&w, q);
	CHECK_U64(w.r->expired, 1);
	end(&w);
}

static void a_slot_that_expired_under_a_thread_is_not_used_until_it_lets_go(void)
{
	struct world w = begin();
	struct held_request *q;
	uint64_t late;

	start(&w);
	q = one_request(&w);
	q->state = REQUEST_TAKEN;
	late = q->deadline;
	held_sweep(w.h, late);
	check_denied(&w, q);
	CHECK_U64(q->state, REQUEST_EXPIRED);
	CHECK(!is_open(q->fd));
	held_sweep(w.h, late + 9 * w.h->deadline);
	CHECK_U64(q->state, REQUEST_EXPIRED);
	q->state = REQUEST_ANSWERED; /* it lets go */
	held_sweep(w.h, late);
	CHECK_U64(q->state, REQUEST_FREE);

	q = one_request(&w);
	q->state = REQUEST_TAKEN;
	held_sweep(w.h, q->deadline);
	held_forget_expired(w.h); /* its process is dead */
	held_sweep(w.h, holder_now());
	CHECK_U64(q->state, REQUEST_FREE);
	end(&w);
}

static void a_number_stays_in_use_while_the_worker_is_answering(void)
{
	struct world w = begin();
	struct held_request *q;
	uint32_t response;

	start(&w);
	q = one_request(&w);
	q->state = REQUEST_ANSWERING;
	held_sweep(w.h, q->deadline);
	check_denied(&w, q);
	held_sweep(w.h, q->deadline + 1);
	CHECK(heard(&w, &response) == -1);
	CHECK_U64(q->state, REQUEST_ANSWERING);
	CHECK(is_open(q->fd));
	w.h->pidfd = -1; /* dead */
	held_sweep(w.h, q->deadline + 2);
	CHECK_U64(q->state, REQUEST_FREE);
	CHECK(!is_open(q->fd));
	end(&w);
}

static void no_event_gets_a_number_that_a_former_holder_left_unanswered(void)
{
	static const uint32_t states[] = { REQUEST_PENDING, REQUEST_TAKEN, REQUEST_ANSWERING };
	struct world w = begin();
	unsigned char denied[EVENT_NUMBER_MAX] = { 0 };
	uint32_t response;
	int number, lowest = dup(w.h->null);

	close(lowest);
	for (int i = 0; i < 3; i++) {
		w.r->slots[i * 100].fd = lowest + 1 + i;
		w.r->slots[i * 100].deadline = holder_now() + 1000 * SECOND;
		w.r->slots[i * 100].state = states[i];
	}
	held_adopt(w.h);
	while ((number = heard(&w, &response)) >= 0)
		denied[number] = 1;
	CHECK(denied[0] && denied[lowest]);
	for (int i = 0; i < 3; i++) {
		CHECK(!denied[lowest + 1 + i]);
		CHECK(is_open(lowest + 1 + i));
		CHECK_U64(w.r->slots[i * 100].state, states[i]);
	}
	CHECK_U64(w.r->head, 1); /* who has the others knows of them */
	w.r->slots[100].state = REQUEST_ANSWERED;
	held_sweep(w.h, holder_now());
	CHECK(!is_open(lowest + 2));
	CHECK(is_open(lowest + 3));
	end(&w);
}

static void nonsense_in_the_table_is_not_adopted(void)
{
	struct world w = begin();
	static const int numbers[] = { -1, 2, EVENT_NUMBER_MAX, 1 << 30 };

	for (int i = 0; i < 4; i++) {
		w.r->slots[i].fd = numbers[i];
		w.r->slots[i].state = REQUEST_PENDING;
	}
	w.r->slots[4].state = 99;
	for (int i = 5; i < 7; i++) { /* two of one number */
		w.r->slots[i].fd = 300;
		w.r->slots[i].state = REQUEST_TAKEN;
	}
	start(&w);
	for (int i = 0; i < 5; i++)
		CHECK_U64(w.r->slots[i].state, REQUEST_FREE);
	CHECK_U64(w.r->slots[5].state, REQUEST_TAKEN);
	CHECK_U64(w.r->slots[6].state, REQUEST_FREE);
	CHECK_U64(w.h->n_free, REQUESTS_MAX - 1);
	close(300);
	end(&w);
}

static void only_a_sealed_table_of_the_right_size_is_mapped(void)
{
	CLEANUP_FD int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct requests *r;

	CHECK(!requests_map(null));
	CHECK(ftruncate(fd, sizeof(struct requests)) == 0);
	CHECK(!requests_map(fd));
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	CHECK(!requests_map(fd)); /* no magic */
	CHECK(pwrite(fd, &(uint64_t){ REQUESTS_MAGIC }, 8, 0) == 8);
	r = requests_map(fd);
	CHECK(r != NULL);
	if (r)
		munmap(r, sizeof(*r));
	CHECK(ftruncate(fd, sizeof(struct requests) + 4096) == 0);
	CHECK(!requests_map(fd));
}

static int count_events(const char *bytes, size_t n)
{
	struct event e;
	size_t at = 0;
	int rc, count = 0;

	while ((rc = event_next(bytes, n, &at, &e)) > 0)
		count++;
	return rc < 0 ? -1 : count;
}

static void events_that_are_cut_or_lie_about_their_length_are_refused(void)
{
	char bytes[2 * EVENT_SIZE] = { 0 };
	struct fanotify_event_metadata m = { .event_len = EVENT_SIZE,
		.vers = FANOTIFY_METADATA_VERSION,
		.metadata_len = sizeof(m) };
	struct fanotify_event_info_header info = { .info_type = 6, .len = 24 };

	for (int i = 0; i < 2; i++) {
		memcpy(bytes + i * EVENT_SIZE, &m, sizeof(m));
		memcpy(bytes + i * EVENT_SIZE + sizeof(m), &info, sizeof(info));
	}
	CHECK(count_events(bytes, sizeof(bytes)) == 2);
	for (size_t n = EVENT_SIZE + 1; n < sizeof(bytes); n++)
		CHECK(count_events(bytes, n) == -1);
	for (int len = 0; len < 64; len++) {
		m.event_len = (uint32_t)len;
		memcpy(bytes, &m, sizeof(m));
		CHECK(len == 24 || len == EVENT_SIZE || count_events(bytes, EVENT_SIZE) == -1);
	}
	m.event_len = EVENT_SIZE;
	memcpy(bytes, &m, sizeof(m));
	for (info.len = 0; info.len < 40; info.len++) {
		memcpy(bytes + sizeof(m), &info, sizeof(info));
		CHECK((info.len == 24) == (count_events(bytes, EVENT_SIZE) == 1));
	}
}

static void names_come_in_order_and_are_cut(void)
{
	CLEANUP_FREE char *names = xasprintf("one::%0200d:last", 0);
	char name[KEEP_NAME_MAX + 1];
	const char *at = NULL;

	setenv("LISTEN_FDNAMES", names, 1);
	handover_name(&at, name);
	CHECK_STR(name, "one");
	handover_name(&at, name);
	CHECK_STR(name, "");
	handover_name(&at, name);
	CHECK_U64(strlen(name), KEEP_NAME_MAX);
	handover_name(&at, name);
	CHECK_STR(name, "last");
	handover_name(&at, name);
	CHECK_STR(name, "");
	setenv("LISTEN_FDS", "3", 1);
	setenv("LISTEN_PID", "1", 1);
	CHECK_U64(handover_count(true), 0);
	CHECK_U64(handover_count(false), 3);
	setenv("LISTEN_FDS", "-3", 1);
	CHECK_U64(handover_count(false), 0);
	CHECK(handover_name_is_valid("a") && !handover_name_is_valid("") &&
		!handover_name_is_valid("a:b") && !handover_name_is_valid("a\n"));
}

int main(void)
{
	RUN(an_event_becomes_a_pending_request_and_wakes_the_worker);
	RUN(what_is_there_is_let_go_without_the_worker);
	RUN(an_answered_request_is_closed_and_only_then_free);
	RUN(at_its_deadline_a_pending_request_is_denied_with_eio);
	RUN(a_slot_that_expired_under_a_thread_is_not_used_until_it_lets_go);
	RUN(a_number_stays_in_use_while_the_worker_is_answering);
	RUN(no_event_gets_a_number_that_a_former_holder_left_unanswered);
	RUN(nonsense_in_the_table_is_not_adopted);
	RUN(only_a_sealed_table_of_the_right_size_is_mapped);
	RUN(events_that_are_cut_or_lie_about_their_length_are_refused);
	RUN(names_come_in_order_and_are_cut);
	return tap_done();
}
