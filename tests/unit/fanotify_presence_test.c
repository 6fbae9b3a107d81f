// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Reads that the holder lets go on by itself: of what is there, and of nothing else (linked with
 * --wrap=fdatasync and --wrap=pwrite).
 */
#include "config.h"

#include "tests/unit/fanotify_fixture.h"

#include "lib/serve/holder/presence.h"
#include "lib/serve/transport/fanotify_presence.h"

enum { BLOCKS_HERE = 200, DEADLINE = 100, G = PRESENCE_GRANULE };

static struct presence *table; /* the kept one, mapped once more */

static bool is_known(int fd, uint64_t offset, uint64_t len)
{
	struct presence_id id;
	uint64_t size;

	CHECK(presence_identify(fd, &id, &size) == 0);
	return presence_look(table, &id, offset, len) >= 0;
}

static bool knows(const struct serving *s, uint64_t offset, uint64_t len)
{
	return is_known(s->shared[0].fd, offset, len);
}

static bool knows_any(const struct serving *s)
{
	for (uint64_t at = 0; at < s->shared[0].size; at += G)
		if (knows(s, at, 1))
			return true;
	return false;
}

static void open_table(const struct serving *s)
{
	table = presence_map(s->keep.presence);
	CHECK(table != NULL);
}

static void close_table(void)
{
	munmap(table, sizeof(*table));
	table = NULL;
}

/* With a holder, but without a worker that answers. */
static void serve_alone(struct serving *s, unsigned blocks, unsigned deadline)
{
	serve(s, 1, blocks, DEADLINE);
	open_table(s);
	holder_make(&s->keep, deadline);
	holder_go_on();
}

static void end_alone(struct serving *s)
{
	holder_hold_up();
	close_table();
	serve_end(s);
}

static void need(const struct serving *s, uint64_t offset, uint64_t len)
{
	CHECK_U64((uint64_t)engine_need(s->f.blobs[0], offset, len), 0);
}

/* --- what it answers --- */

static void what_is_there_is_read_without_a_worker(void)
{
	struct serving s;

	serve_alone(&s, BLOCKS_HERE, 1);
	need(&s, 0, 4 * G);
	CHECK(knows(&s, 0, 4 * G));
	for (int by = BY_READ; by <= BY_DIRECT; by++)
		CHECK_U64((uint64_t)read_now(&s, by, G, 2 * G), 0);
	CHECK(s.keep.requests->answered >= 3);
	CHECK_U64(s.keep.requests->answered, s.keep.requests->read);
	CHECK_U64(s.keep.requests->head, 0); /* none of them was the worker's */
	CHECK_U64(stats(&s.f).hits, s.keep.requests->answered);
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 15 * G, BLOCK), EIO);
	CHECK(s.keep.requests->head > 0);
	CHECK(s.keep.requests->expired > 0);
	CHECK_U64((uint64_t)read_now(&s, BY_READ, G, 2 * G), 0);
	end_alone(&s);
}

static void a_granule_of_which_a_frame_is_missing_is_asked_for(void)
{
	struct serving s;

	serve_alone(&s, BLOCKS_HERE, DEADLINE);
	need(&s, BLOCK, 1); /* the second frame, of three */
	CHECK(store_blob_has(s.f.caches[0], 1));
	CHECK(!knows(&s, BLOCK, 1));
	start_transport(&s);
	CHECK_U64((uint64_t)read_now(&s, BY_DIRECT, BLOCK, BLOCK), 0);
	CHECK(s.keep.requests->head > 0);
	need(&s, 0, G);
	EVENTUALLY(knows(&s, 0, G));
	CHECK(!knows(&s, 0, G + 1)); /* its first frame is there, the granule not */
	end_alone(&s);
}

static void the_last_granule_ends_with_the_file(void)
{
	struct serving s;

	serve_alone(&s, BLOCKS_HERE, DEADLINE);
	CHECK(s.shared[0].size % G != 0);
	need(&s, s.shared[0].size / G * G, 1);
	need(&s, s.shared[0].size / G * G, UINT64_MAX / 2);
	CHECK(knows(&s, s.shared[0].size - 1, 1) && knows(&s, s.shared[0].size - 1, BLOCK));
	end_alone(&s);
}

/* One that was started by this holder, is ready, and has not taken the table over. */
static void a_worker_that_does_not_know_the_table_is_asked(void)
{
	struct serving s;
	uint32_t head;

	serve_alone(&s, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	need(&s, 0, G);
	holder_hold_up();
	holder.ready = true;
	s.keep.requests->worker_pid = 1;
	holder_go_on();
	CHECK_U64((uint64_t)read_now(&s, BY_DIRECT, 0, BLOCK), 0);
	head = s.keep.requests->head;
	CHECK(head > 0);
	s.keep.requests->worker_pid = (uint32_t)getpid();
	CHECK_U64((uint64_t)read_now(&s, BY_DIRECT, 0, BLOCK), 0);
	CHECK_U64(s.keep.requests->head, head);
	end_alone(&s);
}

/* --- not before the bytes, not after them --- */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at);

static atomic_uint failing_syncs, early, writes;

int __wrap_fdatasync(int fd)
{
	if (!failing_syncs)
		return __real_fdatasync(fd);
	failing_syncs--;
	errno = EIO;
	return -1;
}

/* Who is told of bytes before they are written is told too early. */
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at)
{
	for (uint64_t i = (uint64_t)at / G; table && i <= ((uint64_t)at + n - 1) / G; i++)
		early += is_known(fd, i * G, 1);
	writes++;
	return __real_pwrite(fd, p, n, at);
}

static void nothing_is_known_before_it_is_written(void)
{
	struct serving s;
	unsigned before;

	serve_alone(&s, BLOCKS_HERE, DEADLINE);
	early = 0;
	before = writes;
	for (unsigned i = 0; i < BLOCKS_HERE - 8; i += 4)
		need(&s, i * 37 % (BLOCKS_HERE - 8) * BLOCK, BLOCK);
	CHECK(writes - before > BLOCKS_HERE / 8);
	CHECK_U64(early, 0);
	CHECK(knows_any(&s));
	end_alone(&s);
}

static bool known_at_loss, there_at_loss;
static struct serving *losing;

static void look_at_loss(void *fixture)
{
	tell_lost(fixture);
	known_at_loss = knows_any(losing);
	there_at_loss = store_blob_has(losing->f.caches[0], 5);
}

static void what_a_failed_sync_loses_is_not_known(void)
{
	struct serving s;

	memset(&s, 0, sizeof(s));
	losing = &s;
	serve(&s, 1, BLOCKS_HERE, DEADLINE);
	open_table(&s);
	store_blob_on_loss(s.f.caches[0], look_at_loss, &s.f);
	known_at_loss = true;
	there_at_loss = false;
	failing_syncs = 1;
	need(&s, 0, UINT64_MAX); /* then it is synced at once */
	EVENTUALLY(!store_blob_has(s.f.caches[0], 5));
	EVENTUALLY(!failing_syncs && !store_blob_has(s.f.caches[0], 5));
	CHECK(there_at_loss && !known_at_loss); /* first the bits, then the frames */
	CHECK(!knows_any(&s));
	holder_make(&s.keep, DEADLINE);
	holder_go_on();
	start_transport(&s);
	early = 0;
	CHECK_U64((uint64_t)read_now(&s, BY_DIRECT, 3 * G, G), 0);
	CHECK(s.keep.requests->head > 0);
	CHECK_U64(early, 0);
	EVENTUALLY(knows(&s, 3 * G, G)); /* again */
	end_alone(&s);
}

/* --- files that come and go --- */

static void what_is_detached_is_not_known_and_what_is_attached_again_is(void)
{
	struct serving s;

	serve_alone(&s, BLOCKS_HERE, DEADLINE);
	need(&s, 0, 2 * G);
	CHECK(knows(&s, 0, 2 * G));
	CHECK_U64((uint64_t)read_now(&s, BY_DIRECT, 0, G), 0);
	s.transport->detach(s.transport, &s.shared[0]);
	CHECK(!knows_any(&s));
	CHECK(stats(&s.f).hits > 0);
	need(&s, 3 * G, G);
	attach(&s, 0);
	CHECK(knows(&s, 0, 2 * G) && knows(&s, 3 * G, G) && !knows(&s, 6 * G, 1));
	end_alone(&s);
}

/* The thread that answers looks at the rest. */
static void of_a_large_file_all_is_known_after_a_while(void)
{
	enum { FAR = 1100 * G };
	struct serving s;

	serve_alone(&s, 10000, DEADLINE);
	CHECK(s.shared[0].size > FAR + G);
	need(&s, 0, G);
	need(&s, FAR, G);
	s.transport->detach(s.transport, &s.shared[0]);
	attach(&s, 0);
	CHECK(knows(&s, 0, G) && !knows(&s, FAR, G));
	start_transport(&s);
	EVENTUALLY(knows(&s, FAR, G));
	tell_changed(&s, 0, UINT64_MAX); /* it waits for news by now, or soon */
	EVENTUALLY(knows(&s, FAR, G));
	CHECK(!knows(&s, 2 * G, 1));
	end_alone(&s);
}

static void what_is_complete_is_forgotten(void)
{
	struct serving s;

	serve_alone(&s, BLOCKS_HERE, DEADLINE);
	need(&s, 0, G);
	CHECK_U64((uint64_t)read_now(&s, BY_DIRECT, 0, G), 0);
	need(&s, 0, UINT64_MAX);
	EVENTUALLY(shared_blob_is_complete(&s.shared[0]) && !knows_any(&s));
	CHECK(stats(&s.f).hits > 0);
	CHECK_U64((uint64_t)read_now(&s, BY_DIRECT, 0, 8 * G), 0);
	end_alone(&s);
}

/* It was killed: its table says of this blob more than its store does, and has files of others. */
static void a_former_workers_table_is_taken_over(void)
{
	const struct presence_id other = { .dev = 1, .ino = 2, .born = 3 };
	struct presence_id id;
	struct serving s;
	uint64_t size;
	int slots[2];

	serve_alone(&s, BLOCKS_HERE, DEADLINE);
	need(&s, 0, G);
	CHECK(presence_identify(s.shared[0].fd, &id, &size) == 0);
	close_transport(&s);
	close(s.store_fd);
	CHECK(!knows_any(&s));
	slots[0] = presence_add(table, &id, size, 10);
	slots[1] = presence_add(table, &other, G, 11); /* also its last word: damaged */
	CHECK(slots[0] >= 0 && slots[1] >= 0);
	for (uint64_t at = 0; at < size; at += G)
		presence_set(table, (uint32_t)slots[0], at / G, true);
	presence_set(table, (uint32_t)slots[1], 0, true);
	open_transport(&s);
	CHECK(knows(&s, 0, size)); /* until it is attached: the bytes are there */
	CHECK_U64(table->owner, (uint64_t)getpid());
	CHECK(presence_look(table, &other, 0, 1) >= 0);
	attach(&s, 0);
	CHECK(knows(&s, 0, G) && !knows(&s, 5 * G, 1));
	start_transport(&s);
	CHECK(presence_look(table, &other, 0, 1) < 0);
	CHECK(knows(&s, 0, G));
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, size), 0);
	end_alone(&s);
}

/* What stands there of the files' size and words is not believed (or this hangs, or is a fault). */
static void a_table_that_is_damaged_harms_no_worker(void)
{
	struct serving s;

	serve_alone(&s, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	need(&s, 0, G);
	holder_hold_up();
	for (unsigned i = 0; i < PRESENCE_FILES; i++) {
		table->files[i].size = UINT64_MAX;
		table->files[i].first = UINT32_MAX;
	}
	tell_changed(&s, 0, UINT64_MAX);
	tell_lost(&s);
	tell_changed(&s, 0, UINT64_MAX);
	CHECK(!knows_any(&s));
	s.transport->detach(s.transport, &s.shared[0]);
	attach(&s, 0);
	CHECK(knows(&s, 0, G));
	holder_go_on();
	end_alone(&s);
}

static void a_table_of_another_layout_is_replaced(void)
{
	CLEANUP_FD int fd = memfd_create("test", MFD_CLOEXEC);
	CLEANUP_ERROR struct error *err = NULL;
	struct fanotify_presence *p;
	struct keep keep;

	keep_begin(&keep);
	CHECK(keep_put(&keep, KEEP_PRESENCE, fd, &err) == 0);
	p = fanotify_presence_open(&keep, &err);
	must(p != NULL, err);
	table = presence_map(keep.presence);
	CHECK(table && table->owner == (uint32_t)getpid());
	close_table();
	fanotify_presence_close(p);
	keep_end(&keep);
}

static void words_of_files_that_go_are_used_again(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	const off_t quarter = (off_t)PRESENCE_WORDS / 4 * 64 * G;
	CLEANUP_ERROR struct error *err = NULL;
	struct fanotify_presence *p;
	int fds[6], slots[6];
	struct keep keep;

	keep_begin(&keep);
	p = fanotify_presence_open(&keep, &err);
	must(p != NULL, err);
	for (int i = 0; i < 6; i++) {
		fds[i] = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		CHECK(ftruncate(fds[i], i < 5 ? quarter : quarter + 1) == 0);
		slots[i] = fanotify_presence_add(p, fds[i]);
		CHECK((slots[i] >= 0) == (i < 4));
	}
	fanotify_presence_remove(p, slots[1]);
	CHECK(fanotify_presence_add(p, fds[5]) < 0); /* the gap is too narrow */
	slots[4] = fanotify_presence_add(p, fds[4]);
	CHECK(slots[4] >= 0);
	CHECK_U64(
		(uint64_t)fanotify_presence_add(p, fds[4]), (uint64_t)slots[4]); /* in its place */
	fanotify_presence_remove(p, slots[2]);
	fanotify_presence_remove(p, slots[3]);
	CHECK(fanotify_presence_add(p, fds[5]) >= 0);
	for (int i = 0; i < 6; i++)
		close(fds[i]);
	fanotify_presence_close(p);
	keep_end(&keep);
}

/* --- what the worker hears of it --- */

static void readers_of_what_is_there_are_read_ahead_for(void)
{
	const uint64_t there = 6 * PRESENCE_STEP;
	struct serving s;
	uint32_t next;

	serve_alone(&s, 1000, DEADLINE);
	start_transport(&s);
	for (uint64_t at = there; at > 0; at -= G) /* nobody who reads on from there */
		need(&s, at - G, G);
	next = range_map_find(s.f.samples[0].map, there) + 2;
	CHECK(!store_blob_has(s.f.caches[0], next));
	for (uint64_t at = 0; at < there; at += 2 * G)
		CHECK_U64((uint64_t)read_now(&s, BY_DIRECT, at, 2 * G), 0);
	CHECK_U64(s.keep.requests->head, 0);
	CHECK_U64(table->head, 6); /* one note for each step */
	EVENTUALLY(store_blob_has(s.f.caches[0], next));
	end_alone(&s);
}

int main(void)
{
	CLEANUP_FREE char *why = NULL;

	alarm(600);
	RUN(a_table_of_another_layout_is_replaced);
	if (!has_events(&why)) {
		printf("# no more, for %s\n", why);
		return tap_done();
	}
	RUN(words_of_files_that_go_are_used_again);
	RUN(what_is_there_is_read_without_a_worker);
	RUN(a_granule_of_which_a_frame_is_missing_is_asked_for);
	RUN(the_last_granule_ends_with_the_file);
	RUN(a_worker_that_does_not_know_the_table_is_asked);
	RUN(nothing_is_known_before_it_is_written);
	RUN(what_a_failed_sync_loses_is_not_known);
	RUN(what_is_detached_is_not_known_and_what_is_attached_again_is);
	RUN(of_a_large_file_all_is_known_after_a_while);
	RUN(what_is_complete_is_forgotten);
	RUN(a_former_workers_table_is_taken_over);
	RUN(a_table_that_is_damaged_harms_no_worker);
	RUN(readers_of_what_is_there_are_read_ahead_for);
	return tap_done();
}
