// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The transport cachefiles against a kernel's end that is a socket, message by message. */
#include "config.h"

#include "tests/unit/cachefiles_fixture.h"

#include <time.h>

/* ---- OPEN ---- */

static void a_blob_is_opened_with_its_size_in_whole_blocks(void)
{
	WORLD w;
	struct object o;

	world_begin(&w, 1, 10);
	o = open_blob(&w, 0);
	CHECK_U64(n_open(&o), 2);
	CHECK_U64(size_of(&o), 0);
	close(o.fd);
}

static void what_is_unknown_is_refused_and_its_descriptor_closed(void)
{
	WORLD w;
	struct object o;

	world_begin(&w, 1, 10);
	say_open(&w, "erofs," DOMAIN, "nobody", new_file(&o.fd));
	CHECK(hears(&w, w.message, -ENOENT));
	say_open(&w, "erofs,other", w.cookies[0], new_file(&o.fd));
	CHECK(hears(&w, w.message, -ENOENT));
	say_open(&w, "ceph,x", w.cookies[0], new_file(&o.fd));
	CHECK(hears(&w, w.message, -ENOENT));
	EVENTUALLY(n_open(&o) == 1);
	close(o.fd);
}

static void what_is_refused_again_and_again_is_opened_and_its_reads_end(void)
{
	WORLD w;
	struct object o = { .fd = -1 };
	uint32_t read;

	world_begin(&w, 1, 10);
	for (unsigned i = 0; i < 3; i++) {
		cleanup_fd_(&o.fd);
		say_open(&w, "erofs,gone", "gone", new_file(&o.fd));
		CHECK(hears(&w, w.message, -ENOENT));
	}
	cleanup_fd_(&o.fd);
	o.id = say_open(&w, "erofs,gone", "gone", new_file(&o.fd));
	CHECK(hears(&w, w.message, BLOCK));
	read = say_read(&w, o.id, 0, BLOCK);
	EVENTUALLY(completed_as(read) == 1);
	CHECK_U64(size_of(&o), 0);
	close(o.fd);
}

static void cookies_say_which_bytes_a_blob_has(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *cookie = NULL;
	struct shared_blob other;
	WORLD w;

	world_begin(&w, 2, 10);
	CHECK(strcmp(w.cookies[0], w.cookies[1]) != 0);
	CHECK_U64(strlen(w.cookies[0]), 64);
	other = w.blobs[0];
	other.attached[DEVICE_CACHEFILES] = NULL;
	other.index = w.blobs[1].index;
	must(w.transport->attach(w.transport, &other, &cookie, &err) == 0, err);
	CHECK(strcmp(w.cookies[0], cookie) != 0);
	w.transport->detach(w.transport, &other);
}

/* ---- READ ---- */

static void a_read_is_answered_with_what_it_asks_for(void)
{
	WORLD w;
	struct object o;
	uint32_t read;

	world_begin(&w, 1, 200);
	o = open_blob(&w, 0);
	read = say_read(&w, o.id, 5 * BLOCK, 3 * BLOCK);
	EVENTUALLY(completed_as(read) == 1);
	CHECK(has(&w, &o, 0, 5 * BLOCK, 3 * BLOCK));
	close(o.fd);
}

static void what_is_around_it_follows(void)
{
	WORLD w;
	struct object o;

	world_begin(&w, 1, 200);
	o = open_blob(&w, 0);
	say_read(&w, o.id, 70 * BLOCK, BLOCK);
	EVENTUALLY(has(&w, &o, 0, CACHE_GRANULE, CACHE_GRANULE));
	CHECK(!has(&w, &o, 0, 0, BLOCK));
	CHECK_U64(n_completed(), 1);
	close(o.fd);
}

static void odd_ranges_become_whole_blocks_and_end_with_the_object(void)
{
	WORLD w;
	struct object o;
	uint32_t reads[3];

	world_begin(&w, 1, 10);
	o = open_blob(&w, 0);
	reads[0] = say_read(&w, o.id, BLOCK + 5, 1);
	EVENTUALLY(completed_as(reads[0]) == 1);
	CHECK(has(&w, &o, 0, BLOCK, BLOCK));
	reads[1] = say_read(&w, o.id, 10 * BLOCK, 100 * BLOCK);
	reads[2] = say_read(&w, o.id, INT64_MAX - 10, 10);
	EVENTUALLY(completed_as(reads[1]) == 1 && completed_as(reads[2]) == 1);
	EVENTUALLY(has(&w, &o, 0, 0, 11 * BLOCK));
	CHECK_U64(size_of(&o), 11 * BLOCK);
	close(o.fd);
}

static void a_read_that_comes_twice_is_answered_twice(void)
{
	WORLD w;
	struct object o;

	world_begin(&w, 1, 50);
	o = open_blob(&w, 0);
	for (unsigned i = 0; i < 20; i++) {
		say_read(&w, o.id, 8 * BLOCK, 4 * BLOCK);
		if (i % 2)
			w.message--; /* the same number */
	}
	EVENTUALLY(n_completed() == 20);
	CHECK(has(&w, &o, 0, 8 * BLOCK, 4 * BLOCK));
	close(o.fd);
}

/* The kernel may have lost what we know that we gave. */
static void what_is_asked_for_again_is_written_again(void)
{
	WORLD w;
	struct object o;
	uint32_t read;

	world_begin(&w, 1, 50);
	o = open_blob(&w, 0);
	say_read(&w, o.id, 0, 51 * BLOCK);
	EVENTUALLY(n_completed() == 1);
	CHECK(ftruncate(o.fd, 0) == 0);
	read = say_read(&w, o.id, 3 * BLOCK, BLOCK);
	EVENTUALLY(completed_as(read) == 1);
	CHECK(has(&w, &o, 0, 3 * BLOCK, BLOCK));
	close(o.fd);
}

static void one_who_waits_keeps_nobody_waiting(void)
{
	WORLD w;
	struct object a, b;
	uint32_t first, second;

	world_begin(&w, 2, 100);
	must(engine_need(w.f.blobs[1], 0, w.f.samples[1].size) == 0, NULL);
	a = open_blob(&w, 0);
	b = open_blob(&w, 1);
	fake_gate(&w.f.fake, true);
	first = say_read(&w, a.id, 0, BLOCK);
	second = say_read(&w, b.id, 0, BLOCK);
	EVENTUALLY(completed_as(second) == 1);
	CHECK_U64(completed_as(first), 0);
	fake_gate(&w.f.fake, false);
	EVENTUALLY(completed_as(first) == 1);
	CHECK(has(&w, &a, 0, 0, BLOCK) && has(&w, &b, 1, 0, BLOCK));
	close(a.fd);
	close(b.fd);
}

static void a_failure_ends_the_read_without_data(void)
{
	WORLD w;
	struct object o;
	uint32_t read;

	world_begin(&w, 1, 100);
	o = open_blob(&w, 0);
	w.f.fake.fail = 1000;
	read = say_read(&w, o.id, 0, BLOCK);
	EVENTUALLY(completed_as(read) == 1);
	CHECK_U64(size_of(&o), 0);
	close(o.fd);
}

/* As when the kernel's disk is full. */
static void what_cannot_be_written_is_answered_too(void)
{
	WORLD w;
	struct object o = { .fd = open("/dev/full", O_RDWR | O_CLOEXEC) };
	uint32_t read;

	world_begin(&w, 1, 100);
	o.id = say_open(&w, "erofs," DOMAIN, w.cookies[0], fcntl(o.fd, F_DUPFD_CLOEXEC, 3));
	CHECK(hears(&w, w.message, (int64_t)w.f.samples[0].size));
	read = say_read(&w, o.id, 0, BLOCK);
	EVENTUALLY(completed_as(read) == 1);
	close(o.fd);
}

static void a_fault_beside_what_is_asked_for_does_no_harm(void)
{
	WORLD w;
	struct object o;
	uint32_t read;

	world_begin(&w, 1, 60);
	o = open_blob(&w, 0);
	w.f.fake.corrupt = frame_of(&w.f, 0, 10).stored_offset + 100;
	w.f.fake.n_corrupt = 1000;
	read = say_read(&w, o.id, 0, BLOCK);
	EVENTUALLY(completed_as(read) == 1);
	CHECK(has(&w, &o, 0, 0, BLOCK));
	close(o.fd);
}

/* ---- CLOSE ---- */

static void close_gives_the_descriptor_back(void)
{
	WORLD w;
	struct object o;

	world_begin(&w, 1, 10);
	o = open_blob(&w, 0);
	say_close(&w, o.id);
	EVENTUALLY(n_open(&o) == 1);
	say_close(&w, o.id);
	say_close(&w, 12345);
	close(o.fd);
	o = open_blob(&w, 0);
	close(o.fd);
}

static void close_while_bytes_are_on_their_way_waits_for_them(void)
{
	WORLD w;
	struct object o;

	world_begin(&w, 1, 100);
	o = open_blob(&w, 0);
	fake_gate(&w.f.fake, true);
	say_read(&w, o.id, 0, BLOCK);
	fake_wait(&w.f.fake, 1);
	say_close(&w, o.id);
	close(open_blob(&w, 0).fd); /* so the CLOSE has been read */
	CHECK_U64(n_open(&o), 2);
	fake_gate(&w.f.fake, false);
	EVENTUALLY(n_completed() == 1);
	EVENTUALLY(n_open(&o) == 1);
	close(o.fd);
}

static void a_read_of_what_is_closed_asks_for_all_again(void)
{
	WORLD w;
	struct object o;

	world_begin(&w, 1, 10);
	o = open_blob(&w, 0);
	say_close(&w, o.id);
	say_read(&w, o.id, 0, BLOCK);
	say_read(&w, o.id, 0, BLOCK);
	CHECK_STR(hear(&w), "restore");
	CHECK_U64(n_completed(), 0);
	close(o.fd);
}

static void a_cookie_may_be_opened_twice_and_again(void)
{
	WORLD w;
	struct object a, b;

	world_begin(&w, 1, 40);
	a = open_blob(&w, 0);
	b = open_blob(&w, 0);
	say_read(&w, a.id, 0, 4 * BLOCK);
	say_close(&w, a.id);
	say_read(&w, b.id, 4 * BLOCK, 4 * BLOCK);
	EVENTUALLY(n_completed() == 2);
	CHECK(has(&w, &b, 0, 4 * BLOCK, 4 * BLOCK));
	close(a.fd);
	a = open_blob(&w, 0);
	say_read(&w, a.id, 0, BLOCK);
	EVENTUALLY(n_completed() == 3);
	CHECK(has(&w, &a, 0, 0, BLOCK));
	close(a.fd);
	close(b.fd);
}

/* ---- files ---- */

static int file_of(const char *text, size_t n)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	CHECK(write(fd, text, n) == (ssize_t)n);
	return fd;
}

static void a_file_is_given_at_once_and_zeros_follow_it(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *text = xcalloc(1, 300 * BLOCK), *got = xcalloc(1, 300 * BLOCK);
	CLEANUP_FD int fd = -1;
	struct cachefiles_file file = { .cookie = "image",
		.offset = 10,
		.data = 250 * BLOCK + 7,
		.size = 400 * BLOCK,
		.at_once = true };
	struct object o;
	uint32_t zeros;
	WORLD w;

	world_begin(&w, 1, 10);
	memset(text, 'x', 300 * BLOCK);
	file.fd = fd = file_of(text, 300 * BLOCK);
	must(cachefiles_add_file(w.transport, &file, &err) == 0, err);
	CHECK(cachefiles_add_file(w.transport, &file, &err) < 0);
	o = open_cookie(&w, "image", 400 * BLOCK);
	say_read(&w, o.id, 0, BLOCK);
	zeros = say_read(&w, o.id, 390 * BLOCK, BLOCK);
	EVENTUALLY(completed_as(zeros) == 1);
	EVENTUALLY(pread(o.fd, got, 251 * BLOCK, 0) == 251 * BLOCK && got[250 * BLOCK + 6] == 'x');
	CHECK(memcmp(got, text, 250 * BLOCK + 7) == 0 && !got[250 * BLOCK + 7]);
	CHECK_U64(size_of(&o), 391 * BLOCK);
	CHECK(!cachefiles_was_closed(w.transport, "image"));
	say_close(&w, o.id);
	EVENTUALLY(cachefiles_was_closed(w.transport, "image"));
	cachefiles_remove_file(w.transport, "image");
	close(o.fd);
}

static void without_a_domain_the_volume_is_the_mounts_own(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FD int fd = file_of("y", 1);
	const struct cachefiles_file file = { .cookie = "image", .fd = fd, .data = 1, .size = 1 };
	struct object o;
	WORLD w;

	world_begin(&w, 1, 10);
	must(cachefiles_add_file(w.transport, &file, &err) == 0, err);
	say_open(&w, "erofs,image", w.cookies[0], new_file(&o.fd));
	CHECK(hears(&w, w.message, (int64_t)w.f.samples[0].size));
	close(o.fd);
}

/* ---- what comes and goes ---- */

static void a_blob_that_is_complete_is_given_in_the_background(void)
{
	WORLD w;
	struct object o;

	world_begin(&w, 1, 300);
	o = open_blob(&w, 0);
	must(engine_need(w.f.blobs[0], 0, w.f.samples[0].size) == 0, NULL);
	EVENTUALLY(served_blob_is_complete(w.f.blobs[0]));
	w.transport->completed(w.transport, &w.blobs[0]);
	EVENTUALLY(has(&w, &o, 0, 0, w.f.samples[0].size));
	CHECK_U64(n_completed(), 0);
	close(o.fd);
}

static void reads_of_a_blob_that_nobody_has_end(void)
{
	WORLD w;
	struct object o;
	uint32_t read;

	world_begin(&w, 1, 50);
	o = open_blob(&w, 0);
	detach_blob(&w, 0);
	read = say_read(&w, o.id, 0, BLOCK);
	EVENTUALLY(completed_as(read) == 1);
	CHECK_U64(size_of(&o), 0);
	close(o.fd);
}

/* The kernel keeps an object that a new mount has, too: no OPEN comes. */
static void an_object_goes_on_with_a_blob_that_comes_again(void)
{
	WORLD w;
	struct object o;
	uint32_t read;

	world_begin(&w, 1, 50);
	o = open_blob(&w, 0);
	detach_blob(&w, 0);
	attach_blob(&w, 0);
	read = say_read(&w, o.id, BLOCK, BLOCK);
	EVENTUALLY(completed_as(read) == 1);
	CHECK(has(&w, &o, 0, BLOCK, BLOCK));
	close(o.fd);
}

static void hundreds_of_objects_are_served(void)
{
	enum { N = 300 };
	static struct object o[N];
	unsigned wrong = 0;
	WORLD w;

	world_begin(&w, MAX_BLOBS, 40);
	for (unsigned i = 0; i < N; i++)
		o[i] = open_blob(&w, i % MAX_BLOBS);
	for (unsigned i = 0; i < N; i++)
		say_read(&w, o[N - 1 - i].id, (i % 10) * BLOCK, 2 * BLOCK);
	EVENTUALLY(n_completed() == N);
	for (unsigned i = 0; i < N; i++)
		wrong += !has(
			&w, &o[N - 1 - i], (N - 1 - i) % MAX_BLOBS, (i % 10) * BLOCK, 2 * BLOCK);
	CHECK_U64(wrong, 0);
	for (unsigned i = 0; i < N; i++) {
		say_close(&w, o[i].id);
		close(o[i].fd);
	}
}

/* ---- malformed ---- */

static void malformed_messages_are_refused_and_others_answered(void)
{
	uint8_t short_open[sizeof(struct cachefiles_open) + 2] = { 1, 0, 0, 0,
		1 }; /* little endian */
	struct object o;
	uint32_t read;
	WORLD w;

	world_begin(&w, 1, 20);
	say(&w, "x", 1);
	say_message(&w, 77, 1, NULL, 0);
	say_message(&w, CACHEFILES_OP_OPEN, 1, short_open, sizeof(short_open));
	CHECK(hears(&w, w.message, -EPROTO));
	say_message(&w, CACHEFILES_OP_CLOSE, UINT32_MAX, NULL, 0);
	o = open_blob(&w, 0);
	read = say_read(&w, o.id, 0, BLOCK);
	EVENTUALLY(completed_as(read) == 1);
	say_read(&w, UINT32_MAX, 0, BLOCK);
	CHECK_STR(hear(&w), "restore");
	close(o.fd);
}

/* ---- the end ---- */

static void the_end_waits_for_nobody_and_late_answers_do_no_harm(void)
{
	WORLD w;
	struct object o;
	time_t before;

	world_begin(&w, 1, 100);
	o = open_blob(&w, 0);
	fake_gate(&w.f.fake, true);
	for (unsigned i = 0; i < 10; i++)
		say_read(&w, o.id, i * 8 * BLOCK, BLOCK);
	fake_wait(&w.f.fake, 1);
	before = time(NULL);
	world_close(&w);
	CHECK(time(NULL) - before < 30);
	CHECK_U64(n_open(&o), 1);
	CHECK_U64(n_completed(), 0);
	CHECK(!w.blobs[0].attached[DEVICE_CACHEFILES]);
	fake_gate(&w.f.fake, false);
	must(engine_need(w.f.blobs[0], 0, w.f.samples[0].size) == 0, NULL);
	CHECK_U64(size_of(&o), 0);
	close(o.fd);
}

static void the_kernels_end_may_go_first(void)
{
	WORLD w;

	world_begin(&w, 1, 10);
	close(open_blob(&w, 0).fd);
	shutdown(w.kernel, SHUT_RDWR);
	usleep(20000);
	world_close(&w);
}

int main(void)
{
	log_set_level(LOG_QUIET);
	RUN(a_blob_is_opened_with_its_size_in_whole_blocks);
	RUN(what_is_unknown_is_refused_and_its_descriptor_closed);
	RUN(what_is_refused_again_and_again_is_opened_and_its_reads_end);
	RUN(cookies_say_which_bytes_a_blob_has);
	RUN(a_read_is_answered_with_what_it_asks_for);
	RUN(what_is_around_it_follows);
	RUN(odd_ranges_become_whole_blocks_and_end_with_the_object);
	RUN(a_read_that_comes_twice_is_answered_twice);
	RUN(what_is_asked_for_again_is_written_again);
	RUN(one_who_waits_keeps_nobody_waiting);
	RUN(a_failure_ends_the_read_without_data);
	RUN(what_cannot_be_written_is_answered_too);
	RUN(a_fault_beside_what_is_asked_for_does_no_harm);
	RUN(close_gives_the_descriptor_back);
	RUN(close_while_bytes_are_on_their_way_waits_for_them);
	RUN(a_read_of_what_is_closed_asks_for_all_again);
	RUN(a_cookie_may_be_opened_twice_and_again);
	RUN(a_file_is_given_at_once_and_zeros_follow_it);
	RUN(without_a_domain_the_volume_is_the_mounts_own);
	RUN(a_blob_that_is_complete_is_given_in_the_background);
	RUN(reads_of_a_blob_that_nobody_has_end);
	RUN(an_object_goes_on_with_a_blob_that_comes_again);
	RUN(hundreds_of_objects_are_served);
	RUN(malformed_messages_are_refused_and_others_answered);
	RUN(the_end_waits_for_nobody_and_late_answers_do_no_harm);
	RUN(the_kernels_end_may_go_first);
	return tap_done();
}
