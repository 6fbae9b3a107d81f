// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Every event is answered once, with what the kernel takes for an answer. */
#include "config.h"

#include "tests/unit/fanotify_fixture.h"

enum { BLOCKS_HERE = 100, DEADLINE = 100 };

/* --- an engine that fails as it is told --- */

static atomic_int fails_with;

void __real_engine_want(struct served_blob *b, uint64_t offset, uint64_t len, struct want *w);
void __wrap_engine_want(struct served_blob *b, uint64_t offset, uint64_t len, struct want *w);

void __wrap_engine_want(struct served_blob *b, uint64_t offset, uint64_t len, struct want *w)
{
	if (fails_with)
		w->done(w, fails_with);
	else
		__real_engine_want(b, offset, len, w);
}

/* A reader whose answer the kernel refuses would hang. */
static void an_errno_that_the_kernel_refuses_is_not_told_to_it(void)
{
	static const int errors[] = { EIO, ENOMEM, EINVAL, ETIMEDOUT, ECANCELED, EHWPOISON, 255,
		4095, -1 };
	struct serving s;

	serve_now(&s, 1, BLOCKS_HERE, DEADLINE, DEADLINE);
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		fails_with = errors[i];
		CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, BLOCK), EIO);
	}
	fails_with = ENOSPC;
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, BLOCK), ENOSPC);
	fails_with = 0;
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, BLOCK), 0);
	CHECK_U64(s.keep.requests->expired, 0);
	holder_hold_up();
	serve_end(&s);
}

/* --- the queue --- */

/* As the kernel tells them (proc(5)): an overflow would take a limit that is the whole system's. */
static unsigned group_flags(int group)
{
	CLEANUP_FREE char *path = xasprintf("/proc/self/fdinfo/%d", group);
	CLEANUP_FREE char *text = read_file(path);
	const char *at = text ? strstr(text, "fanotify flags:") : NULL;
	unsigned flags = 0;

	CHECK(at && sscanf(at, "fanotify flags:%x", &flags) == 1);
	return flags;
}

static void a_queue_that_overflows_lets_no_read_through(void)
{
	struct reader r[24];
	struct serving s;

	serve(&s, 1, BLOCKS_HERE, DEADLINE);
	CHECK(group_flags(s.keep.group) & FAN_UNLIMITED_QUEUE);
	CHECK(group_flags(s.keep.group) & FAN_UNLIMITED_MARKS);
	start_transport(&s);
	holder_make(&s.keep, DEADLINE);
	for (unsigned i = 0; i < 24; i++) {
		r[i] = reader_of(&s, 0, BY_READ, i * 4 * BLOCK, BLOCK);
		reader_begin(&r[i]);
	}
	CHECK(poll(&(struct pollfd){ .fd = s.keep.group, .events = POLLIN }, 1, 60000) == 1);
	holder_go_on();
	for (unsigned i = 0; i < 24; i++)
		CHECK_U64((uint64_t)reader_end(&r[i]), 0);
	CHECK(s.keep.requests->read >= 24);
	holder_hold_up();
	serve_end(&s);
}

/* --- events that nobody would answer --- */

static void a_file_that_is_not_served_is_denied(void)
{
	CLEANUP_FREE char *path = NULL;
	struct reader r = { .len = BLOCK };
	struct serving s;
	int fd;

	serve_now(&s, 1, BLOCKS_HERE, DEADLINE, DEADLINE);
	path = xasprintf("%s/other", s.f.dir);
	write_file(path, s.f.samples[0].content, 2 * BLOCK);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fanotify_mark(s.keep.group, FAN_MARK_ADD, FAN_PRE_ACCESS, fd, NULL) == 0);
	close(fd);
	r.path = path;
	reader_begin(&r);
	CHECK_U64((uint64_t)reader_end(&r), EIO);
	CHECK_U64(s.keep.requests->denied, 1);
	CHECK_U64(s.keep.requests->expired, 0);
	holder_hold_up();
	serve_end(&s);
}

/* As a worker that died would leave it. */
static void what_a_former_worker_left_is_answered(void)
{
	static const uint32_t left[] = { REQUEST_PENDING, REQUEST_TAKEN, REQUEST_ANSWERING };
	struct reader r[3];
	struct serving s;

	serve(&s, 1, BLOCKS_HERE, DEADLINE);
	holder_make(&s.keep, DEADLINE);
	holder_go_on();
	for (uint32_t i = 0; i < 3; i++) {
		r[i] = reader_of(&s, 0, BY_READ, i * 20 * BLOCK, BLOCK);
		reader_begin(&r[i]);
		EVENTUALLY(slot_has(&s, i, REQUEST_PENDING));
		atomic_store(&s.keep.requests->slots[i].state, left[i]);
	}
	close_transport(&s);
	close(s.store_fd);
	open_transport(&s); /* adopts the group */
	attach(&s, 0);
	start_transport(&s);
	for (uint32_t i = 0; i < 3; i++)
		CHECK_U64((uint64_t)reader_end(&r[i]), 0);
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 90 * BLOCK, BLOCK), 0);
	holder_hold_up();
	serve_end(&s);
}

/* --- the table, without a kernel: no event has these numbers --- */

enum { NO_EVENT = 1 << 24 };

static void put_request(struct serving *s, uint32_t slot, uint64_t offset)
{
	struct held_request *q = &s->keep.requests->slots[slot];
	struct stat st;

	CHECK(fstat(s->shared[0].fd, &st) == 0);
	q->fd = NO_EVENT;
	q->dev = st.st_dev;
	q->ino = st.st_ino;
	q->offset = offset;
	q->len = BLOCK;
	atomic_store(&q->state, REQUEST_PENDING);
}

static void announce(struct serving *s, uint32_t slot)
{
	static const uint64_t one = 1;
	struct requests *r = s->keep.requests;
	uint32_t head = atomic_load(&r->head);

	atomic_store(&r->ring[head % REQUESTS_MAX], slot);
	atomic_store(&r->head, head + 1);
	CHECK(write(s->keep.wake, &one, sizeof(one)) == sizeof(one));
}

static void a_ring_that_was_overwritten_loses_no_request(void)
{
	struct serving s;

	serve(&s, 1, BLOCKS_HERE, DEADLINE);
	atomic_store(&s.keep.requests->head, UINT32_MAX - 5); /* and it goes round */
	start_transport(&s);
	put_request(&s, 0, 0);
	announce(&s, 0);
	EVENTUALLY(slot_has(&s, 0, REQUEST_ANSWERED));
	put_request(&s, 77, 0);
	put_request(&s, REQUESTS_MAX - 1, 0);
	for (unsigned i = 0; i < REQUESTS_MAX; i++)
		atomic_store(&s.keep.requests->ring[i], i % 2 ? 5 : UINT32_MAX - i);
	atomic_fetch_add(&s.keep.requests->head, 2 * REQUESTS_MAX + 3);
	announce(&s, UINT32_MAX);
	EVENTUALLY(slot_has(&s, 77, REQUEST_ANSWERED));
	EVENTUALLY(slot_has(&s, REQUESTS_MAX - 1, REQUEST_ANSWERED));
	for (uint32_t i = 1; i <= 9; i++) {
		put_request(&s, i, 0);
		announce(&s, i);
		EVENTUALLY(slot_has(&s, i, REQUEST_ANSWERED));
	}
	serve_end(&s);
}

/* The holder has given up a request, and then uses the slot again: the old one's end is not the
 * new one's. */
static void a_slot_that_is_used_again_waits_for_its_own_bytes(void)
{
	struct serving s;

	serve(&s, 1, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	fake_gate(&s.f.fake, true);
	put_request(&s, 3, 0);
	announce(&s, 3);
	fake_wait(&s.f.fake, 1);
	EVENTUALLY(slot_has(&s, 3, REQUEST_TAKEN));
	put_request(&s, 3, 60 * BLOCK);
	announce(&s, 3);
	put_request(&s, 4, 0); /* by then it has looked at the other */
	announce(&s, 4);
	EVENTUALLY(slot_has(&s, 4, REQUEST_TAKEN));
	CHECK(slot_has(&s, 3, REQUEST_PENDING));
	fake_permit(&s.f.fake, 1);
	EVENTUALLY(slot_has(&s, 4, REQUEST_ANSWERED)); /* the bytes of both first ones */
	EVENTUALLY(slot_has(&s, 3, REQUEST_TAKEN));
	CHECK(!is_right(&s.f, 0, 60 * BLOCK, BLOCK));
	fake_gate(&s.f.fake, false);
	EVENTUALLY(slot_has(&s, 3, REQUEST_ANSWERED));
	CHECK(is_right(&s.f, 0, 60 * BLOCK, BLOCK));
	serve_end(&s);
}

/* The engine answers after the transport has gone. */
static void what_was_wanted_is_answered_at_the_end(void)
{
	struct reader r;
	struct serving s;

	serve_now(&s, 1, BLOCKS_HERE, DEADLINE, DEADLINE);
	fake_gate(&s.f.fake, true);
	r = reader_of(&s, 0, BY_READ, 0, BLOCK);
	reader_begin(&r);
	fake_wait(&s.f.fake, 1);
	close_transport(&s);
	CHECK(!s.shared[0].attached[DEVICE_FANOTIFY]);
	remove_blob(&s.f, 0);
	CHECK_U64((uint64_t)reader_end(&r), EIO);
	holder_hold_up();
	serve_end(&s);
}

/* --- marks --- */

static bool is_marked(const struct serving *s, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

	rc = fanotify_mark(s->keep.group, FAN_MARK_REMOVE, FAN_PRE_ACCESS, fd, NULL);
	if (rc == 0)
		CHECK(fanotify_mark(s->keep.group, FAN_MARK_ADD, FAN_PRE_ACCESS, fd, NULL) == 0);
	close(fd);
	return rc == 0;
}

static void go_on(struct serving *s)
{
	close(s->store_fd);
	open_transport(s);
}

/* It died between the last sync and the end of the mark. */
static void a_mark_on_what_was_complete_before_goes(void)
{
	struct serving s;

	serve_now(&s, 1, BLOCKS_HERE, DEADLINE, DEADLINE);
	close_transport(&s);
	CHECK_U64((uint64_t)engine_need(s.f.blobs[0], 0, UINT64_MAX), 0);
	EVENTUALLY(shared_blob_is_complete(&s.shared[0]));
	go_on(&s);
	CHECK(is_marked(&s, s.shared[0].path));
	attach(&s, 0);
	CHECK(!is_marked(&s, s.shared[0].path));
	start_transport(&s);
	holder_hold_up();
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, BLOCK), 0);
	serve_end(&s);
}

static void marks_of_files_that_nobody_uses_go(void)
{
	CLEANUP_FREE char *unused = NULL, *used = NULL;
	struct serving s;
	int fd;

	serve(&s, 1, BLOCKS_HERE, DEADLINE);
	unused = xasprintf("%s/unused", s.f.dir);
	used = xasprintf("%s/used", s.f.dir);
	write_file(unused, "x", 1);
	write_file(used, "x", 1);
	for (int i = 0; i < 2; i++) {
		fd = open(i ? used : unused, O_RDONLY | O_CLOEXEC);
		CHECK(fanotify_mark(s.keep.group, FAN_MARK_ADD, FAN_PRE_ACCESS, fd, NULL) == 0);
		if (!i)
			close(fd);
	}
	close_transport(&s);
	go_on(&s);
	attach(&s, 0);
	start_transport(&s);
	CHECK(!is_marked(&s, unused));
	CHECK(is_marked(&s, used));
	CHECK(is_marked(&s, s.shared[0].path));
	close(fd);
	serve_end(&s);
}

static void what_is_detached_has_no_mark(void)
{
	struct serving s;

	serve(&s, 2, BLOCKS_HERE, DEADLINE);
	attach(&s, 0); /* a second time */
	CHECK(is_marked(&s, s.shared[0].path));
	s.transport->detach(s.transport, &s.shared[0]);
	CHECK(!is_marked(&s, s.shared[0].path));
	CHECK(is_marked(&s, s.shared[1].path));
	attach(&s, 0);
	CHECK(is_marked(&s, s.shared[0].path));
	close_transport(&s); /* for the next process */
	CHECK(is_marked(&s, s.shared[0].path));
	serve_end(&s);
}

int main(void)
{
	skip_without_events();
	RUN(an_errno_that_the_kernel_refuses_is_not_told_to_it);
	RUN(a_queue_that_overflows_lets_no_read_through);
	RUN(a_file_that_is_not_served_is_denied);
	RUN(what_a_former_worker_left_is_answered);
	RUN(a_ring_that_was_overwritten_loses_no_request);
	RUN(a_slot_that_is_used_again_waits_for_its_own_bytes);
	RUN(what_was_wanted_is_answered_at_the_end);
	RUN(a_mark_on_what_was_complete_before_goes);
	RUN(marks_of_files_that_nobody_uses_go);
	RUN(what_is_detached_has_no_mark);
	return tap_done();
}
