// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Blobs as files of our FUSE filesystem, and the kernel's EROFS over them, while the server is
 * killed.
 */
#include "config.h"

#include "tests/unit/fuse_device_fixture.h"

#include <sys/time.h>
#include <sys/uio.h>

#include "lib/serve/transport/fuse_late.h"

enum { READERS = 16, READ_MAX = 75 * BLOCK };

/* ---- readers ---- */

enum way { BY_DEVICE, BY_EROFS, BY_MMAP, BY_DIRECT, N_WAYS };

struct reader {
	pthread_t thread;
	const struct world *w;
	enum way way;
	uint64_t seed;
	unsigned rounds; /* 0: until it is told to stop */
};

static ssize_t read_mapped(int fd, uint8_t *buf, size_t len, off_t at)
{
	size_t before = (size_t)at % BLOCK;
	uint8_t *p = mmap(NULL, before + len, PROT_READ, MAP_SHARED, fd, at - (off_t)before);
	struct iovec to = { buf, len }, from;
	ssize_t n;

	if (p == MAP_FAILED)
		return -1;
	from = (struct iovec){ p + before, len };
	n = process_vm_readv(getpid(), &to, 1, &from, 1, 0); /* instead of SIGBUS */
	munmap(p, before + len);
	return n;
}

/* Or nobody would ask us again: EROFS has pages, and so has FUSE. */
static void drop_pages(int fd, int device)
{
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	posix_fadvise(device, 0, 0, POSIX_FADV_DONTNEED);
}

static void read_once(struct reader *r, int fd, int device, uint8_t *buf)
{
	uint32_t size = (uint32_t)r->w->sample.size, at = random_below(&r->seed, size), len;
	ssize_t n;

	if (r->way == BY_DIRECT)
		at &= ~(uint32_t)(BLOCK - 1);
	len = 1 + random_below(&r->seed, size - at < READ_MAX ? size - at : READ_MAX);
	if (r->way == BY_DIRECT)
		len = (len + BLOCK - 1) & ~(uint32_t)(BLOCK - 1);
	drop_pages(fd, device);
	n = r->way == BY_MMAP ? read_mapped(fd, buf, len, at) : pread(fd, buf, len, at);
	atomic_fetch_add(&board->reads, 1);
	if (n > 0 && memcmp(buf, r->w->sample.content + at, (size_t)n) != 0)
		atomic_fetch_add(&board->wrong, 1);
	else if (n != (ssize_t)len) /* in the middle, too */
		atomic_fetch_add(&board->errors, 1);
}

static void *read_on(void *arg)
{
	struct reader *r = arg;
	int fd = r->way == BY_DEVICE   ? open_device(r->w, 0)
		 : r->way == BY_DIRECT ? open_device(r->w, O_DIRECT)
				       : open_data(r->w);
	int device = open_device(r->w, 0);
	uint8_t *buf = aligned_alloc(BLOCK, READ_MAX + BLOCK);

	for (unsigned i = 0; r->rounds ? i < r->rounds : !atomic_load(&board->stop); i++)
		read_once(r, fd, device, buf);
	free(buf);
	close(fd);
	close(device);
	return NULL;
}

static void read_by_all_ways(const struct world *w, unsigned rounds)
{
	struct reader r[READERS];

	for (unsigned i = 0; i < READERS; i++) {
		r[i] = (struct reader){ .w = w, .way = i % N_WAYS, .seed = i, .rounds = rounds };
		pthread_create(&r[i].thread, NULL, read_on, &r[i]);
	}
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(r[i].thread, NULL);
}

static void start_readers(struct world *w)
{
	w->reader = start_process();
	if (w->reader == 0) {
		read_by_all_ways(w, 0);
		_exit(0);
	}
}

/* Until one that has begun after this has ended, in each thread more or less. */
static void wait_reads(unsigned n)
{
	unsigned until = atomic_load(&board->reads) + n;

	EVENTUALLY(atomic_load(&board->reads) >= until);
}

static bool reads_right(int fd, const struct world *w, uint64_t at, size_t len, int *code)
{
	CLEANUP_FREE uint8_t *buf = xmalloc(len);
	ssize_t n = pread(fd, buf, len, (off_t)at);

	*code = n < 0 ? errno : 0;
	return n == (ssize_t)len && memcmp(buf, w->sample.content + at, len) == 0;
}

/* ---- tests ---- */

static void sixteen_readers_by_read_mmap_and_O_DIRECT_get_right_bytes(void)
{
	WORLD w;

	world_begin(&w, SETTING_DEFAULT);
	read_by_all_ways(&w, 60);
	CHECK_U64(atomic_load(&board->reads), READERS * 60);
	CHECK_U64(atomic_load(&board->errors), 0);
	CHECK_U64(atomic_load(&board->wrong), 0);
}

static void what_lies_beyond_the_end_is_not_there(void)
{
	CLEANUP_FD int fd = -1;
	struct stat st = { 0 };
	char byte;
	WORLD w;

	world_begin(&w, SETTING_DEFAULT);
	fd = open_device(&w, 0);
	CHECK_U64(fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0, w.sample.size);
	CHECK_U64(st.st_mode, S_IFREG | 0400);
	CHECK(pread(fd, &byte, 1, (off_t)w.sample.size) == 0);
	CHECK(pread(fd, &byte, 1, (off_t)w.sample.size - 1) == 1);
}

static void other_names_are_not_there_and_nothing_can_be_written(void)
{
	CLEANUP_FREE char *other = NULL;
	WORLD w;

	world_begin(&w, SETTING_DEFAULT);
	other = xasprintf("%s0", w.device);
	CHECK(open(w.device, O_RDWR) < 0 && errno == EROFS);
	CHECK(open(other, O_RDONLY) < 0 && errno == ENOENT);
}

static void a_source_that_fails_is_EIO_after_the_deadline_and_right_bytes_later(void)
{
	struct setting setting = SETTING_DEFAULT;
	CLEANUP_FD int fd = -1;
	int code = 0;
	WORLD w;

	setting.deadline = 2;
	world_begin(&w, setting);
	fd = open_data(&w);
	atomic_store(&board->fails, true);
	CHECK(!reads_right(fd, &w, 1000000, 5000, &code));
	CHECK_U64((uint64_t)code, EIO);
	atomic_store(&board->fails, false);
	EVENTUALLY(reads_right(fd, &w, 1000000, 5000, &code));
}

/* Though EROFS and FUSE each read ahead, and then ask again for what they lack. */
static void who_waits_in_vain_waits_for_one_deadline(void)
{
	struct setting setting = SETTING_DEFAULT;
	CLEANUP_FD int fd = -1;
	uint64_t begun;
	int code = 0;
	WORLD w;

	setting.deadline = 10;
	world_begin(&w, setting);
	fd = open_data(&w);
	atomic_store(&board->waits, true);
	begun = late_now();
	CHECK(!reads_right(fd, &w, 1000000, 5000, &code));
	CHECK_U64((uint64_t)code, EIO);
	CHECK(late_now() - begun < 19000);
	atomic_store(&board->waits, false);
	EVENTUALLY(reads_right(fd, &w, 1000000, 5000, &code));
}

static void what_is_read_again_is_asked_for_once(void)
{
	CLEANUP_FD int fd = -1;
	int code = 0;
	WORLD w;

	world_begin(&w, SETTING_DEFAULT);
	fd = open_data(&w);
	CHECK(reads_right(fd, &w, 0, 100000, &code));
	order(&w, 'k');
	kill_process(&w.holder);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* EROFS forgets, FUSE beneath it does not */
	CHECK(reads_right(fd, &w, 0, 100000, &code));
}

/* Both blobs are the same node of FUSE, one after the other. */
static void another_blob_does_not_get_the_pages_of_the_last_one(void)
{
	CLEANUP_FD int device = -1, twin = -1;
	uint8_t last[BLOCK] = { 0 }, buf[BLOCK] = { 0 };
	WORLD w;

	world_begin(&w, SETTING_DEFAULT);
	device = open_device(&w, 0);
	CHECK(pread(device, last, BLOCK, BLOCK) == BLOCK);
	CHECK(memcmp(last, w.sample.content + BLOCK, BLOCK) == 0);
	order(&w, 'x');
	EVENTUALLY((twin = open(w.twin, O_RDONLY | O_CLOEXEC)) >= 0);
	CHECK(pread(twin, buf, BLOCK, BLOCK) == BLOCK);
	CHECK(memcmp(buf, last, BLOCK) != 0);
}

static void readers_of_a_server_that_is_killed_again_and_again_see_nothing_of_it(void)
{
	const char *env = getenv("SERVER_KILLS");
	unsigned kills = env ? (unsigned)atoi(env) : 50;
	WORLD w;

	world_begin(&w, SETTING_DEFAULT);
	start_readers(&w);
	for (unsigned i = 0; i < kills; i++) {
		wait_reads(1 + i % 7);
		CHECK_U64((uint64_t)order(&w, 'k'), SIGKILL);
		CHECK(order(&w, 's') >= 0);
	}
	wait_reads(READERS);
	atomic_store(&board->stop, true);
	waitpid(w.reader, NULL, 0);
	w.reader = 0;
	CHECK_U64(atomic_load(&board->errors), 0);
	CHECK_U64(atomic_load(&board->wrong), 0);
	printf("# %u reads, %u kills\n", atomic_load(&board->reads), kills);
}

static void when_nobody_keeps_it_readers_get_errors_and_never_zeros(void)
{
	CLEANUP_FD int data = -1, device = -1;
	int code = 0;
	WORLD w;

	world_begin(&w, SETTING_DEFAULT);
	data = open_data(&w);
	device = open_device(&w, 0);
	CHECK(reads_right(data, &w, 0, BLOCK, &code));
	start_readers(&w);
	wait_reads(READERS);
	order(&w, 'k');
	kill_process(&w.holder);
	EVENTUALLY(atomic_load(&board->errors) > READERS);
	drop_pages(data, device);
	CHECK(!reads_right(data, &w, 2000000, BLOCK, &code));
	CHECK_U64((uint64_t)code, EIO);
	drop_pages(data, device);
	CHECK(!reads_right(device, &w, 2000000, BLOCK, &code));
	CHECK(code == ENOTCONN || code == ECONNABORTED);
	CHECK_U64(atomic_load(&board->wrong), 0);
}

struct one_reader {
	const struct world *w;
	int fd, code;
	bool right;
};

static void *read_one(void *arg)
{
	struct one_reader *r = arg;

	r->right = reads_right(r->fd, r->w, 3000000, 20000, &r->code);
	return NULL;
}

/* EROFS would try again. */
static void a_server_that_ends_in_good_order_leaves_its_readers_to_the_next(void)
{
	struct one_reader r;
	pthread_t thread;
	char end = 'e';
	int status = -1;
	WORLD w;

	world_begin(&w, SETTING_DEFAULT);
	r = (struct one_reader){ .w = &w, .fd = open_device(&w, 0) };
	atomic_store(&board->waits, true);
	atomic_store(&board->asked, 0);
	pthread_create(&thread, NULL, read_one, &r);
	EVENTUALLY(atomic_load(&board->asked) > 0);
	CHECK(send(w.orders, &end, 1, 0) == 1);
	EVENTUALLY(atomic_load(&board->closed));
	atomic_store(&board->waits, false);
	CHECK(recv(w.orders, &status, sizeof(status), 0) == sizeof(status));
	CHECK_U64((uint64_t)status, 0);
	CHECK(order(&w, 's') >= 0);
	pthread_join(thread, NULL);
	CHECK(r.right);
	CHECK_U64((uint64_t)r.code, 0);
	close(r.fd);
}

/* ---- signals: EROFS reads ahead once and tries again, so that these read the device ---- */

static void ignore(int sig)
{
	(void)sig;
}

/* In a process of its own; exits with what it saw. */
static pid_t start_reader_with_timer(const struct world *w)
{
	pid_t pid = start_process();
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
	struct sigaction sa = { .sa_handler = ignore, .sa_flags = SA_RESTART };
	int code, fd;
	bool right;

	if (pid)
		return pid;
	sigaction(SIGALRM, &sa, NULL);
	fd = open_device(w, 0);
	setitimer(ITIMER_REAL, &often, NULL);
	right = reads_right(fd, w, 1500000, 200000, &code);
	_exit(right ? 0 : code ? code : 96);
}

static void a_signal_that_a_reader_expects_does_not_end_its_read(void)
{
	int status = -1;
	WORLD w;

	world_begin(&w, SETTING_DEFAULT);
	atomic_store(&board->waits, true);
	atomic_store(&board->asked, 0);
	w.reader = start_reader_with_timer(&w);
	EVENTUALLY(atomic_load(&board->asked) > 0);
	usleep(100000); /* some signals */
	atomic_store(&board->waits, false);
	waitpid(w.reader, &status, 0);
	w.reader = 0;
	CHECK_U64((uint64_t)status, 0);
}

static void a_reader_that_is_killed_goes_at_once(void)
{
	int status = -1;
	pid_t gone = 0;
	WORLD w;

	world_begin(&w, SETTING_DEFAULT);
	atomic_store(&board->waits, true);
	atomic_store(&board->asked, 0);
	w.reader = start_process();
	if (w.reader == 0)
		_exit(reads_right(open_device(&w, 0), &w, 1500000, 200000, &status));
	EVENTUALLY(atomic_load(&board->asked) > 0);
	kill(w.reader, SIGKILL);
	EVENTUALLY(gone || (gone = waitpid(w.reader, &status, WNOHANG)) != 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	w.reader = 0;
}

/* ---- may it be tried? ---- */

static bool can_mount(char **why)
{
	CLEANUP_ERROR struct error *err = NULL;

	if (!fuse_device_transport_supported(why))
		return false;
	if (erofs_mount_check(&err) < 0)
		*why = xstrdup(err->msg);
	return !*why;
}

int main(void)
{
	CLEANUP_FREE char *why = NULL;

	if (!can_mount(&why)) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
	board = mmap(
		NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	log_set_level(LOG_QUIET);
	RUN(sixteen_readers_by_read_mmap_and_O_DIRECT_get_right_bytes);
	RUN(what_lies_beyond_the_end_is_not_there);
	RUN(other_names_are_not_there_and_nothing_can_be_written);
	RUN(a_source_that_fails_is_EIO_after_the_deadline_and_right_bytes_later);
	RUN(who_waits_in_vain_waits_for_one_deadline);
	RUN(what_is_read_again_is_asked_for_once);
	RUN(another_blob_does_not_get_the_pages_of_the_last_one);
	RUN(readers_of_a_server_that_is_killed_again_and_again_see_nothing_of_it);
	RUN(when_nobody_keeps_it_readers_get_errors_and_never_zeros);
	RUN(a_server_that_ends_in_good_order_leaves_its_readers_to_the_next);
	RUN(a_signal_that_a_reader_expects_does_not_end_its_read);
	RUN(a_reader_that_is_killed_goes_at_once);
	return tap_done();
}
