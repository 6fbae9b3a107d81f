// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Reads of cache files by whoever is not us: their bytes, their deadlines, their end. */
#include "config.h"

#include "tests/unit/fanotify_fixture.h"

#include "lib/base/log.h"

enum { BLOCKS_HERE = 200, DEADLINE = 100, SOON = 5 /* not so soon that a busy machine is late */ };

static void bytes_that_are_not_there_are_waited_for(void)
{
	struct serving s;

	serve_now(&s, 1, BLOCKS_HERE, DEADLINE, DEADLINE);
	CHECK_U64(stats(&s.f).frames_present, 0);
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 40 * BLOCK, 3 * BLOCK), 0);
	CHECK(stats(&s.f).frames_present < stats(&s.f).frames_total);
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, s.f.samples[0].size), 0);
	CHECK(s.keep.requests->answered >= 2);
	holder_hold_up();
	serve_end(&s);
}

static void mapped_and_direct_reads_get_their_bytes(void)
{
	struct serving s;

	serve_now(&s, 1, BLOCKS_HERE, DEADLINE, DEADLINE);
	CHECK_U64((uint64_t)read_now(&s, BY_MMAP, 30 * BLOCK, 20 * BLOCK), 0);
	CHECK_U64((uint64_t)read_now(&s, BY_DIRECT, 100 * BLOCK, 20 * BLOCK), 0);
	CHECK(stats(&s.f).frames_present > 0);
	holder_hold_up();
	serve_end(&s);
}

static void sixteen_readers_of_four_blobs_get_their_bytes(void)
{
	struct reader r[16];
	struct serving s;
	uint64_t seed = 7;

	serve_now(&s, 4, BLOCKS_HERE, DEADLINE, DEADLINE);
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < 16; i++) {
			uint64_t block = random_u64(&seed) % (BLOCKS_HERE - 32);
			size_t n = 1 + random_u64(&seed) % 32;

			r[i] = reader_of(&s, i % 4, (int)(i / 4 % 3), block * BLOCK, n * BLOCK);
			reader_begin(&r[i]);
		}
		for (unsigned i = 0; i < 16; i++)
			CHECK_U64((uint64_t)reader_end(&r[i]), 0);
	}
	holder_hold_up();
	serve_end(&s);
}

static void a_source_that_hangs_gives_an_error_at_the_deadline(void)
{
	struct serving s;

	serve_now(&s, 1, BLOCKS_HERE, SOON, DEADLINE);
	fake_gate(&s.f.fake, true);
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, BLOCK), EIO);
	fake_gate(&s.f.fake, false);
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, BLOCK), 0);
	holder_hold_up();
	serve_end(&s);
}

static void what_the_holder_denied_is_not_answered_again(void)
{
	struct reader r;
	struct serving s;

	serve_now(&s, 1, BLOCKS_HERE, DEADLINE, 1);
	fake_gate(&s.f.fake, true);
	r = reader_of(&s, 0, BY_READ, 0, BLOCK);
	reader_begin(&r);
	fake_wait(&s.f.fake, 1); /* taken */
	CHECK_U64((uint64_t)reader_end(&r), EIO);
	EVENTUALLY(s.keep.requests->expired > 0);
	CHECK_U64(s.keep.requests->answered, 0);
	holder_hold_up();
	CHECK(slot_has(&s, 0, REQUEST_EXPIRED)); /* as long as the engine has it */
	fake_gate(&s.f.fake, false);
	EVENTUALLY(slot_has(&s, 0, REQUEST_ANSWERED));
	CHECK_U64(s.keep.requests->answered, 0);
	holder.deadline = DEADLINE * UINT64_C(1000000000);
	holder_go_on();
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, BLOCK), 0);
	holder_hold_up();
	serve_end(&s);
}

static void a_signal_kills_a_reader_that_waits(void)
{
	struct reader r;
	struct serving s;
	int status = 0;
	bool ended = false;

	serve_now(&s, 1, BLOCKS_HERE, DEADLINE, DEADLINE);
	fake_gate(&s.f.fake, true);
	r = reader_of(&s, 0, BY_READ, 0, BLOCK);
	reader_begin(&r);
	fake_wait(&s.f.fake, 1);
	CHECK(!reader_has_ended(&r, &status));
	kill(r.pid, SIGKILL);
	EVENTUALLY(ended || (ended = reader_has_ended(&r, &status)));
	CHECK(WIFSIGNALED(status));
	fake_gate(&s.f.fake, false); /* its answer comes too late, and does no harm */
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, 20 * BLOCK), 0);
	holder_hold_up();
	serve_end(&s);
}

/* --- our own files --- */

static int use_freely(const struct serving *s, const char *name)
{
	int fd = openat(s->store_fd, name, O_RDWR | O_CLOEXEC), pipes[2];
	char *map;

	if (fd < 0 || pread(fd, reader_buf, BLOCK, 0) != BLOCK ||
		pwrite(fd, reader_buf, BLOCK, 8 * BLOCK) != BLOCK || fdatasync(fd) < 0 ||
		ftruncate(fd, 64 * BLOCK) < 0 || fallocate(fd, 0, 0, 64 * BLOCK) < 0 ||
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 * BLOCK) < 0)
		return 1;
	map = mmap(NULL, 64 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return 2;
	map[20 * BLOCK] = map[30 * BLOCK];
	if (pipe(pipes) < 0 || splice(fd, NULL, pipes[1], NULL, BLOCK, 0) != BLOCK)
		return 3;
	fd = openat(s->store_fd, name, O_RDONLY | O_DIRECT | O_CLOEXEC);
	return fd < 0 || pread(fd, reader_buf, BLOCK, 0) != BLOCK ? 4 : 0;
}

/* Nobody answers: what raises an event hangs. */
static void our_own_use_of_marked_files_waits_for_nobody(void)
{
	const char *name = NULL;
	struct reader r = { 0 };
	struct serving s;

	serve(&s, 1, BLOCKS_HERE, DEADLINE);
	name = s.shared[0].path + strlen(s.store_dir) + 1;
	for (int closed = 0; closed < 2; closed++) {
		r.pid = fork();
		if (r.pid == 0)
			_exit(use_freely(&s, name));
		CHECK_U64((uint64_t)reader_end(&r), 0);
		if (!closed) /* also with the transport gone, and with that of a new process */
			close_transport(&s);
	}
	close(s.store_fd);
	open_transport(&s);
	r.pid = fork();
	if (r.pid == 0)
		_exit(use_freely(&s, name));
	CHECK_U64((uint64_t)reader_end(&r), 0);
	serve_end(&s);
}

/* --- complete --- */

static void what_is_complete_is_read_without_us(void)
{
	struct serving s;

	serve_now(&s, 2, BLOCKS_HERE, DEADLINE, DEADLINE);
	CHECK_U64((uint64_t)engine_need(s.f.blobs[0], 0, UINT64_MAX), 0);
	EVENTUALLY(shared_blob_is_complete(&s.shared[0]));
	holder_hold_up();
	EVENTUALLY(read_now(&s, BY_READ, 0, s.f.samples[0].size) == 0);
	CHECK_U64((uint64_t)read_now(&s, BY_DIRECT, 0, BLOCK), 0);
	close_transport(&s);
	close(s.keep.group);
	s.keep.group = -1;
	CHECK_U64((uint64_t)read_now(&s, BY_READ, 0, s.f.samples[0].size), 0);
	serve_end(&s);
}

static void a_read_from_before_the_end_of_the_mark_is_allowed(void)
{
	struct reader r;
	struct serving s;

	serve(&s, 1, BLOCKS_HERE, DEADLINE);
	start_transport(&s);
	holder_make(&s.keep, DEADLINE);
	r = reader_of(&s, 0, BY_READ, 0, BLOCK);
	reader_begin(&r);
	CHECK(poll(&(struct pollfd){ .fd = s.keep.group, .events = POLLIN }, 1, 60000) == 1);
	CHECK_U64((uint64_t)engine_need(s.f.blobs[0], 0, UINT64_MAX), 0);
	EVENTUALLY(shared_blob_is_complete(&s.shared[0]));
	holder_go_on();
	CHECK_U64((uint64_t)reader_end(&r), 0);
	holder_hold_up();
	serve_end(&s);
}

/* --- where it cannot be --- */

static void a_filesystem_without_events_is_refused(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *why = NULL;
	struct keep keep;
	int fd;

	CHECK(!fanotify_transport_supported("/dev/shm", &why));
	CHECK(why && strstr(why, "/dev/shm"));
	keep_begin(&keep);
	CHECK(!fanotify_transport_open(&keep, "/dev/shm", &fd, &err));
	CHECK(err && err->hint && strstr(err->hint, "ext4"));
	CHECK(keep.group < 0);
	keep_end(&keep);
}

int main(void)
{
	skip_without_events();
	RUN(bytes_that_are_not_there_are_waited_for);
	RUN(mapped_and_direct_reads_get_their_bytes);
	RUN(sixteen_readers_of_four_blobs_get_their_bytes);
	RUN(a_source_that_hangs_gives_an_error_at_the_deadline);
	RUN(what_the_holder_denied_is_not_answered_again);
	RUN(a_signal_kills_a_reader_that_waits);
	RUN(our_own_use_of_marked_files_waits_for_nobody);
	RUN(what_is_complete_is_read_without_us);
	RUN(a_read_from_before_the_end_of_the_mark_is_allowed);
	RUN_IF(access("/dev/shm", W_OK) == 0, a_filesystem_without_events_is_refused,
		"no /dev/shm");
	return tap_done();
}
