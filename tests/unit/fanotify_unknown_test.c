// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A holder was killed before it could note of which file a read was. The reader sees nothing of
 * that, and never bytes that are not there (linked with --wrap for what fails).
 */
#include "config.h"

#include "tests/unit/fanotify_fixture.h"

enum { BLOCKS_HERE = 100, DEADLINE = 100 };
enum { SHORT = 1, SHORT_BLOCKS = 10 }; /* the blob that is shorter, where there is one */

/* --- an engine that fails for one blob --- */

static struct served_blob *fails_for;
static int fails_with;

void __real_engine_want(struct served_blob *b, uint64_t offset, uint64_t len, struct want *w);
void __wrap_engine_want(struct served_blob *b, uint64_t offset, uint64_t len, struct want *w);

void __wrap_engine_want(struct served_blob *b, uint64_t offset, uint64_t len, struct want *w)
{
	if (fails_with && b == fails_for)
		w->done(w, fails_with);
	else
		__real_engine_want(b, offset, len, w);
}

/* --- a kernel that does not tell what is marked --- */

static atomic_bool no_handles, no_fdinfo;

int __real_open_by_handle_at(int dir, struct file_handle *handle, int flags);
int __wrap_open_by_handle_at(int dir, struct file_handle *handle, int flags);
FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);

int __wrap_open_by_handle_at(int dir, struct file_handle *handle, int flags)
{
	errno = ESTALE;
	return no_handles ? -1 : __real_open_by_handle_at(dir, handle, flags);
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
	errno = EACCES;
	return no_fdinfo && strstr(path, "/fdinfo/") ? NULL : __real_fopen(path, mode);
}

/* --- a holder that is killed --- */

/* Who reads, and the holder that took the event is dead. Its descriptor stays open until another
 * one of the same number has its place: here others would get it. */
static struct reader read_and_kill(struct serving *s, unsigned blob, int by, uint64_t offset)
{
	struct reader r = reader_of(s, blob, by, offset, BLOCK);
	union coming *coming = &s->keep.requests->coming;
	struct pollfd p = { .fd = s->keep.group, .events = POLLIN };

	reader_begin(&r);
	CHECK(poll(&p, 1, 60000) == 1);
	CHECK(read(s->keep.group, coming->bytes, EVENT_SIZE) == EVENT_SIZE);
	return r;
}

static bool is_there(const struct serving *s, unsigned blob, uint64_t offset)
{
	return served_blob_has(s->f.blobs[blob], offset, BLOCK);
}

static void succeed(struct serving *s)
{
	holder_succeed(&s->keep, DEADLINE);
	CHECK_U64(s->keep.requests->coming.size, 0);
	holder_go_on();
}

/* They are counted after who waits for one goes on. */
static void check_answers(const struct serving *s, uint64_t answered, uint64_t denied)
{
	EVENTUALLY(s->keep.requests->answered + s->keep.requests->denied >= answered + denied);
	CHECK_U64(s->keep.requests->answered, answered);
	CHECK_U64(s->keep.requests->denied, denied);
	CHECK_U64(s->keep.requests->expired, 0);
}

/* --- what is proved --- */

static void all_files_have_the_range_before_the_read_goes_on(void)
{
	static const int ways[] = { BY_READ, BY_MMAP, BY_DIRECT };
	struct serving s;

	serve(&s, 3, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t at = (10 + 20 * i) * BLOCK;
		struct reader r = read_and_kill(&s, i, ways[i], at);

		succeed(&s);
		CHECK_U64((uint64_t)reader_end(&r), 0);
		for (unsigned k = 0; k < 3; k++)
			CHECK(is_there(&s, k, at) && is_right(&s.f, k, at, BLOCK));
		check_answers(&s, i + 1, 0);
		holder_hold_up();
	}
	serve_end(&s);
}

/* The first parts that come are not enough. */
static void it_waits_for_the_last_of_them(void)
{
	struct reader r;
	struct serving s;
	int status;

	serve(&s, 3, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	fake_gate(&s.f.fake, true);
	r = read_and_kill(&s, 2, BY_READ, 0);
	succeed(&s);
	for (unsigned done = 1; done < 3; done++) {
		fake_wait(&s.f.fake, 4 - done);
		fake_permit(&s.f.fake, 1);
		EVENTUALLY(
			is_there(&s, 0, 0) + is_there(&s, 1, 0) + is_there(&s, 2, 0) == (int)done);
		usleep(20000);
		CHECK(slot_has(&s, 0, REQUEST_TAKEN));
		CHECK(!reader_has_ended(&r, &status));
	}
	fake_gate(&s.f.fake, false);
	CHECK_U64((uint64_t)reader_end(&r), 0);
	check_answers(&s, 1, 0);
	holder_hold_up();
	serve_end(&s);
}

static void a_file_that_ends_before_the_range_needs_nothing(void)
{
	const uint64_t last = SHORT_BLOCKS * BLOCK; /* the block 0 is one more */
	struct reader r;
	struct serving s;

	serve_prepare(&s, 2, BLOCKS_HERE, DEADLINE);
	sample_free(&s.f.samples[SHORT]);
	s.f.samples[SHORT] = sample_make(s.f.dir, SHORT_BLOCKS, 77);
	serve_samples(&s);
	start_transport(&s);
	for (unsigned i = 0; i < 3; i++) { /* behind its end, before that, behind it once more */
		uint64_t at = i == 1 ? last : last + (1 + 40 * i) * BLOCK;

		r = read_and_kill(&s, 0, BY_READ, at);
		succeed(&s);
		CHECK_U64((uint64_t)reader_end(&r), 0);
		CHECK(is_right(&s.f, 0, at, BLOCK));
		CHECK(is_there(&s, SHORT, last) == (i > 0));
		check_answers(&s, i + 1, 0);
		holder_hold_up();
	}
	CHECK(is_right(&s.f, SHORT, last, BLOCK));
	serve_end(&s);
}

static void what_is_complete_is_no_hindrance(void)
{
	struct reader r;
	struct serving s;

	serve(&s, 2, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	r = read_and_kill(&s, 0, BY_READ, 0);
	for (unsigned i = 0; i < 2; i++)
		CHECK_U64((uint64_t)engine_need(s.f.blobs[i], 0, UINT64_MAX), 0);
	EVENTUALLY(shared_blob_is_complete(&s.shared[0]) && shared_blob_is_complete(&s.shared[1]));
	succeed(&s);
	CHECK_U64((uint64_t)reader_end(&r), 0);
	check_answers(&s, 1, 0);
	holder_hold_up();
	serve_end(&s);
}

/* Nothing was allowed, and the reader may try once more. */
static void check_again(struct serving *s, struct reader *r)
{
	uint64_t at = r->offset;

	CHECK_U64((uint64_t)reader_end(r), EAGAIN);
	check_answers(s, 0, 1);
	CHECK_U64((uint64_t)read_now(s, BY_READ, at, BLOCK), 0);
}

/* A hole of it could be what is read. */
static void a_marked_file_that_nobody_serves_could_be_meant(void)
{
	CLEANUP_FREE char *path = NULL;
	struct reader r;
	struct serving s;
	int fd;

	serve(&s, 2, BLOCKS_HERE, DEADLINE);
	path = xasprintf("%s/other", s.f.dir);
	write_file(path, s.f.samples[0].content, 2 * BLOCK);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fanotify_mark(s.keep.group, FAN_MARK_ADD, FAN_PRE_ACCESS, fd, NULL) == 0);
	start_transport(&s);
	r = read_and_kill(&s, 0, BY_READ, 0);
	succeed(&s);
	check_again(&s, &r);
	CHECK(fanotify_mark(s.keep.group, FAN_MARK_REMOVE, FAN_PRE_ACCESS, fd, NULL) == 0);
	close(fd);
	holder_hold_up();
	r = read_and_kill(&s, 1, BY_READ, 20 * BLOCK); /* without the mark it goes */
	succeed(&s);
	CHECK_U64((uint64_t)reader_end(&r), 0);
	holder_hold_up();
	serve_end(&s);
}

static void check_again_while(atomic_bool *broken)
{
	struct reader r;
	struct serving s;

	serve(&s, 1, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	r = read_and_kill(&s, 0, BY_READ, 0);
	*broken = true;
	succeed(&s);
	check_again(&s, &r);
	*broken = false;
	holder_hold_up();
	serve_end(&s);
}

static void so_could_one_that_cannot_be_opened(void)
{
	check_again_while(&no_handles);
}

static void where_it_cannot_be_told_what_is_marked_it_is_to_be_tried_again(void)
{
	check_again_while(&no_fdinfo);
}

static void a_blob_that_is_not_served_yet_could_be_meant(void)
{
	struct reader r;
	struct serving s;
	struct served_blob *served;

	serve(&s, 2, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	r = read_and_kill(&s, 0, BY_READ, 0);
	pthread_rwlock_wrlock(&telling);
	served = s.shared[1].served;
	s.shared[1].served = NULL;
	pthread_rwlock_unlock(&telling);
	succeed(&s);
	CHECK_U64((uint64_t)reader_end(&r), EAGAIN);
	check_answers(&s, 0, 1);
	s.shared[1].served = served;
	holder_hold_up();
	serve_end(&s);
}

static void where_one_of_them_is_not_to_be_had_it_is_to_be_tried_again(void)
{
	static const int errors[] = { EIO, ENOSPC, EHWPOISON };

	for (unsigned i = 0; i < 3; i++) {
		struct reader r;
		struct serving s;

		serve(&s, 3, BLOCKS_HERE, DEADLINE);
		start_transport(&s);
		fails_for = s.f.blobs[i];
		fails_with = errors[i];
		r = read_and_kill(&s, 0, BY_READ, 0);
		succeed(&s);
		CHECK_U64((uint64_t)reader_end(&r), EAGAIN);
		check_answers(&s, 0, 1);
		fails_with = 0;
		CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, BLOCK), 0);
		holder_hold_up();
		serve_end(&s);
	}
}

/* --- both were killed --- */

static void go_on(struct serving *s)
{
	close(s->store_fd);
	open_transport(s); /* adopts the group */
}

static void a_new_worker_inherits_it(void)
{
	static const uint32_t left[] = { REQUEST_PENDING, REQUEST_TAKEN, REQUEST_ANSWERING };
	struct serving s;

	serve(&s, 2, BLOCKS_HERE, DEADLINE);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t at = (5 + 30 * i) * BLOCK;
		struct reader r = read_and_kill(&s, i % 2, BY_READ, at);

		close_transport(&s);
		holder_succeed(&s.keep, DEADLINE);
		CHECK(slot_has(&s, 0, REQUEST_PENDING));
		CHECK_U64(s.keep.requests->slots[0].ino, 0);
		s.keep.requests->slots[0].state = left[i];
		go_on(&s);
		attach(&s, 0);
		attach(&s, 1);
		start_transport(&s);
		holder_go_on();
		CHECK_U64((uint64_t)reader_end(&r), 0);
		CHECK(is_right(&s.f, 0, at, BLOCK) && is_right(&s.f, 1, at, BLOCK));
		check_answers(&s, i + 1, 0);
		EVENTUALLY(slot_has(&s, 0, REQUEST_FREE));
		holder_hold_up();
	}
	serve_end(&s);
}

/* It has not all of the files that the former one had, and one of those is read. */
static void a_new_worker_that_serves_less_does_not_let_it_go(void)
{
	struct reader r;
	struct serving s;

	serve(&s, 2, BLOCKS_HERE, DEADLINE);
	r = read_and_kill(&s, 1, BY_READ, 0);
	close_transport(&s);
	holder_succeed(&s.keep, DEADLINE);
	go_on(&s);
	attach(&s, 0);
	start_transport(&s);
	holder_go_on();
	CHECK_U64((uint64_t)reader_end(&r), EAGAIN);
	check_answers(&s, 0, 1);
	holder_hold_up();
	serve_end(&s);
}

static void what_is_under_way_at_the_end_is_answered(void)
{
	struct reader r;
	struct serving s;

	serve(&s, 2, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	fake_gate(&s.f.fake, true);
	r = read_and_kill(&s, 0, BY_READ, 0);
	succeed(&s);
	fake_wait(&s.f.fake, 2);
	close_transport(&s);
	remove_blob(&s.f, 0);
	CHECK_U64((uint64_t)reader_end(&r), EAGAIN); /* who waits for the other has no more of it */
	remove_blob(&s.f, 1);
	check_answers(&s, 0, 1);
	holder_hold_up();
	serve_end(&s);
}

/* A sync of the first has failed while the second was waited for. */
static void what_is_lost_meanwhile_is_not_let_go(void)
{
	struct reader r;
	struct serving s;

	serve(&s, 2, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	fake_gate(&s.f.fake, true);
	r = read_and_kill(&s, 0, BY_READ, 0);
	succeed(&s);
	fake_wait(&s.f.fake, 2);
	s.transport->lost(s.transport, &s.shared[0]);
	fake_gate(&s.f.fake, false);
	CHECK_U64((uint64_t)reader_end(&r), EAGAIN);
	check_answers(&s, 0, 1);
	holder_hold_up();
	serve_end(&s);
}

/* --- the table, without a kernel: no event has this number --- */

enum { NO_EVENT = 1 << 24 };

static void put_request(struct serving *s, uint64_t offset, uint64_t len)
{
	static const uint64_t one = 1;
	struct requests *r = s->keep.requests;
	struct held_request *q = &r->slots[0];
	uint32_t head = atomic_load(&r->head);

	*q = (struct held_request){ .fd = NO_EVENT, .offset = offset, .len = len };
	atomic_store(&q->state, REQUEST_PENDING);
	atomic_store(&r->ring[head % REQUESTS_MAX], 0);
	atomic_store(&r->head, head + 1);
	CHECK(write(s->keep.wake, &one, sizeof(one)) == sizeof(one));
	EVENTUALLY(slot_has(s, 0, REQUEST_ANSWERED));
}

static void ranges_of_nothing_fetch_nothing(void)
{
	static const uint64_t ranges[][2] = { { 0, 0 }, { UINT64_MAX, 0 }, { UINT64_MAX, 1 },
		{ UINT64_MAX, UINT64_MAX }, { UINT64_C(1) << 63, UINT64_C(1) << 63 },
		{ (BLOCKS_HERE + 1) * BLOCK, BLOCK } };
	struct serving s;

	serve(&s, 2, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(*ranges); i++)
		put_request(&s, ranges[i][0], ranges[i][1]);
	CHECK_U64(fake_requests(&s.f.fake), 0);
	CHECK(!is_there(&s, 0, 0) && !is_there(&s, 1, 0));
	put_request(&s, BLOCKS_HERE * BLOCK, UINT64_MAX); /* the last block of each */
	CHECK(is_there(&s, 0, BLOCKS_HERE * BLOCK) && is_there(&s, 1, BLOCKS_HERE * BLOCK));
	CHECK(!is_there(&s, 0, 0) && !is_there(&s, 1, 0));
	serve_end(&s);
}

/* As of a file that is known. */
static void a_read_of_nothing_is_not_let_go(void)
{
	const uint64_t nothing = 0;
	struct reader r;
	struct serving s;

	serve(&s, 1, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	r = read_and_kill(&s, 0, BY_READ, 0);
	memcpy(s.keep.requests->coming.bytes + EVENT_SIZE - sizeof(nothing), &nothing,
		sizeof(nothing));
	succeed(&s);
	CHECK_U64((uint64_t)reader_end(&r), EIO);
	check_answers(&s, 0, 1);
	CHECK(!is_there(&s, 0, 0));
	holder_hold_up();
	serve_end(&s);
}

static void where_nothing_is_served_there_is_nothing_to_wait_for(void)
{
	struct serving s;

	serve_prepare(&s, 0, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	put_request(&s, 0, BLOCK);
	serve_end(&s);
}

int main(void)
{
	skip_without_events();
	RUN(all_files_have_the_range_before_the_read_goes_on);
	RUN(it_waits_for_the_last_of_them);
	RUN(a_file_that_ends_before_the_range_needs_nothing);
	RUN(what_is_complete_is_no_hindrance);
	RUN(a_marked_file_that_nobody_serves_could_be_meant);
	RUN(so_could_one_that_cannot_be_opened);
	RUN(where_it_cannot_be_told_what_is_marked_it_is_to_be_tried_again);
	RUN(a_blob_that_is_not_served_yet_could_be_meant);
	RUN(where_one_of_them_is_not_to_be_had_it_is_to_be_tried_again);
	RUN(a_new_worker_inherits_it);
	RUN(a_new_worker_that_serves_less_does_not_let_it_go);
	RUN(what_is_under_way_at_the_end_is_answered);
	RUN(what_is_lost_meanwhile_is_not_let_go);
	RUN(ranges_of_nothing_fetch_nothing);
	RUN(a_read_of_nothing_is_not_let_go);
	RUN(where_nothing_is_served_there_is_nothing_to_wait_for);
	return tap_done();
}
