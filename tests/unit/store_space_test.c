// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Space, eviction, and several processes. */
#include "config.h"

#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/base/interrupt.h"
#include "tests/unit/store_fixture.h"

/* --- space --- */

static uint64_t bytes_on_disk(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* Times of files move on by ticks, of 10 ms at most: what comes next has a later one. */
static void next_tick(void)
{
	struct timespec t = { .tv_nsec = 11000000 };

	while (nanosleep(&t, &t) < 0)
		;
}

/* Opened in the order of their numbers, but for number 0, which was opened last. */
static uint64_t fill_four(const struct fixture *f)
{
	struct store_spec spec = spec_of(0);
	CLEANUP_FREE char *cache = path_of(f, &spec, "cache");

	for (int i = 0; i < 4; i++) {
		spec = spec_of(i);
		fill(f->s, &spec);
		next_tick();
	}
	spec = spec_of(0);
	store_blob_close(open_blob(f->s, &spec));
	return bytes_on_disk(cache);
}

static void what_was_used_least_recently_goes_first(void)
{
	FIXTURE f = begin(0);
	uint64_t each = fill_four(&f);
	static const int order[] = { 1, 2, 3, 0 };
	struct store_spec spec;
	size_t place = SIZE_MAX, n;

	for (size_t i = 0; i < 4; i++) {
		spec = spec_of(order[i]);
		CHECK(listed(f.s, &spec, &place).cached == each);
		CHECK_U64(place, 3 - i);
	}
	for (uint64_t left = 4; left-- > 0;) {
		CHECK_U64(prune(f.s, left * each + each / 2, &n), each);
		CHECK_U64(n, 1);
		spec = spec_of(order[3 - left]);
		CHECK(!is_held(f.s, &spec));
		CHECK_U64(prune(f.s, left * each + each / 2, &n), 0);
	}
}

static void a_reservation_evicts_no_more_than_it_needs(void)
{
	FIXTURE f = begin(0);
	uint64_t each = fill_four(&f);
	struct store *s = open_store(f.at, 5 * each);
	struct store_spec spec = large_spec(5), one = spec_of(1), two = spec_of(2),
			  three = spec_of(3);
	struct store_blob *b = open_blob(s, &spec);

	CHECK(reserve(b, each) == 0); /* just so */
	CHECK(is_held(s, &one));
	CHECK(reserve(b, 1) == 0);
	CHECK(!is_held(s, &one) && is_held(s, &two));
	CHECK(reserve(b, each) == 0);
	CHECK(!is_held(s, &two) && is_held(s, &three));
	store_blob_close(b);
	store_close(s);
}

static void what_is_in_use_is_kept(void)
{
	FIXTURE f = begin(0);
	uint64_t each = fill_four(&f);
	struct store_spec spec = spec_of(1), two = spec_of(2), five = spec_of(5);
	struct store_blob *b = open_blob(f.s, &spec);
	struct store_blob *c = open_blob(f.s, &five);
	CLEANUP_FREE char *path = path_of(&f, &two, "cache");
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC); /* by no means of ours */
	size_t n;

	CHECK(listed(f.s, &spec, NULL).in_use && listed(f.s, &five, NULL).in_use);
	CHECK(listed(f.s, &two, NULL).in_use);
	prune(f.s, 0, &n);
	CHECK_U64(n, 2);
	CHECK(is_held(f.s, &spec) && is_held(f.s, &two) && is_held(f.s, &five));
	close(fd);
	fd = -1;
	CHECK(!listed(f.s, &two, NULL).in_use);
	CHECK_U64(prune(f.s, 0, &n), each);
	CHECK(!is_held(f.s, &two) && is_held(f.s, &spec));
	store_blob_close(b);
	store_blob_close(c);
}

static void what_is_removed_stays_good_for_who_has_it_open(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	struct store_blob *b = open_blob(f.s, &spec), *c;
	CLEANUP_FREE char *cache = path_of(&f, &spec, "cache");
	CLEANUP_FREE char *map = path_of(&f, &spec, "map");

	put(b, &spec, 0);
	unlink(cache);
	unlink(map);
	c = open_blob(f.s, &spec);
	CHECK_U64(store_blob_present(c), 0);
	put(b, &spec, 1);
	CHECK(is_right(b, &spec, 0) && is_right(b, &spec, 1));
	store_blob_close(b);
	CHECK_U64(store_blob_present(c), 0);
	store_blob_close(c);
	c = open_blob(f.s, &spec);
	CHECK_U64(store_blob_present(c), 0); /* the other's bits came to nothing of this one's */
	store_blob_close(c);
}

static void without_room_the_error_is_ENOSPC_and_nothing_is_evicted(void)
{
	FIXTURE f = begin(0);
	uint64_t each = fill_four(&f);
	struct store *s = open_store(f.at, 5 * each);
	struct store_spec spec = large_spec(5), used = spec_of(1);
	struct store_blob *b = open_blob(s, &spec), *c = open_blob(s, &used);

	CHECK(reserve(b, 4 * each + 1) == -ENOSPC);
	CHECK(reserve(b, UINT64_MAX) == -ENOSPC);
	for (int i = 0; i < 4; i++) {
		struct store_spec other = spec_of(i);

		CHECK(is_held(s, &other));
	}
	CHECK(reserve(b, 4 * each) == 0);
	store_blob_close(b);
	store_blob_close(c);
	store_close(s);
}

static void a_reservation_counts_for_others_and_is_given_back(void)
{
	FIXTURE f = begin(100 * FRAME);
	struct store_spec one = large_spec(1), two = large_spec(2);
	struct store_blob *a = open_blob(f.s, &one), *b = open_blob(f.s, &two);

	CHECK(reserve(a, 60 * FRAME) == 0);
	CHECK(reserve(b, 40 * FRAME + 1) == -ENOSPC);
	CHECK(reserve(b, 40 * FRAME) == 0);
	CHECK(reserve(a, 1) == -ENOSPC);
	for (uint32_t i = 0; i < 5; i++)
		put(a, &one, i); /* uses it up, no more, no less */
	CHECK(reserve(b, 1) == -ENOSPC);
	CHECK(reserve(a, 1) == -ENOSPC);
	store_blob_close(a);
	CHECK(reserve(b, 60 * FRAME + 1) == -ENOSPC); /* after which what a wrote is evictable */
	CHECK(reserve(b, 55 * FRAME) == 0);
	CHECK(is_held(f.s, &one));
	CHECK(reserve(b, 5 * FRAME) == 0);
	CHECK(!is_held(f.s, &one));
	store_blob_close(b);
}

static void a_reservation_dies_with_its_process(void)
{
	FIXTURE f = begin(100 * FRAME);
	struct store_spec one = large_spec(1), two = large_spec(2);
	CLEANUP_STORE_BLOB struct store_blob *b = NULL;
	int ready[2], status;
	char c;
	pid_t child;

	CHECK(pipe(ready) == 0);
	child = fork();
	if (child == 0) {
		struct store *s = open_store(f.at, 100 * FRAME);
		struct store_blob *own = open_blob(s, &one);

		if (reserve(own, 90 * FRAME) == 0 && write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	CHECK(read(ready[0], &c, 1) == 1);
	b = open_blob(f.s, &two);
	CHECK(reserve(b, 11 * FRAME) == -ENOSPC);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	CHECK(reserve(b, 11 * FRAME) == 0);
	close(ready[0]);
	close(ready[1]);
}

static void what_is_complete_needs_no_more(void)
{
	FIXTURE f = begin(100 * FRAME);
	struct store_spec one = spec_of(1), two = large_spec(2);
	struct store_blob *a = open_blob(f.s, &one), *b = open_blob(f.s, &two);

	CHECK(reserve(a, UINT64_MAX) == 0); /* never more than its size */
	CHECK(reserve(b, 87 * FRAME + 1) == -ENOSPC);
	CHECK(reserve(b, 87 * FRAME) == 0);
	for (uint32_t i = 0; i < N_FRAMES; i++)
		put(a, &one, i);
	sync_blob(a);
	CHECK(reserve(a, UINT64_MAX) == 0);
	CHECK(reserve(b, 1) == -ENOSPC);
	store_blob_close(a);
	CHECK(reserve(b, 1) == 0);
	store_blob_close(b);
}

/* Written, but not known to be: as a killed process leaves it. */
static void space_that_is_taken_already_is_not_asked_for_again(void)
{
	FIXTURE f = begin((N_FRAMES + 1) * FRAME);
	struct store_spec spec = spec_of(1);
	CLEANUP_FREE char *map = path_of(&f, &spec, "map");
	static const uint8_t none[2];
	struct store_blob *b;

	fill(f.s, &spec);
	patch(map, PRESENCE_MAP_BITS, none, 2);
	b = open_blob(f.s, &spec);
	CHECK_U64(store_blob_present(b), 0);
	CHECK(reserve(b, SIZE) == 0);
	store_blob_close(b);
}

static void without_a_limit_the_disk_is_the_limit(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	CLEANUP_STORE_BLOB struct store_blob *b = NULL;
	struct statvfs vfs;

	spec.size = UINT64_C(1) << 43; /* about what ext4 takes */
	b = open_blob(f.s, &spec);
	CHECK(reserve(b, 1000 * FRAME) == 0);
	CHECK(statvfs(f.at, &vfs) == 0);
	if ((uint64_t)vfs.f_bavail * vfs.f_frsize < spec.size)
		CHECK(reserve(b, UINT64_MAX) == -ENOSPC);
	CHECK(reserve(b, 1000 * FRAME) == 0);
}

static void what_is_spare_leaves_some_of_the_limit(void)
{
	static const uint64_t mib = 1 << 20;
	static const struct {
		uint64_t limit, kept; /* MiB */
	} of[] = { { 8, 2 }, { 100, 25 }, { 200, 32 }, { 1000, 100 } };

	for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++) {
		FIXTURE f = begin(of[i].limit * mib);
		struct store_spec spec = large_spec(1);
		CLEANUP_STORE_BLOB struct store_blob *b = NULL;

		spec.size = 1000 * mib;
		b = open_blob(f.s, &spec);
		CHECK(reserve_spare(b, (of[i].limit - of[i].kept) * mib + 1) == -ENOSPC);
		CHECK(reserve_spare(b, (of[i].limit - of[i].kept) * mib) == 0);
		CHECK(reserve_spare(b, 1) == -ENOSPC);
		CHECK(reserve(b, of[i].kept * mib) == 0);
		CHECK(of[i].limit == 1000 || reserve(b, 1) == -ENOSPC);
	}
}

static void what_is_spare_takes_the_place_of_what_nobody_uses(void)
{
	FIXTURE f = begin(0);
	uint64_t each = fill_four(&f);
	struct store *s = open_store(f.at, 8 * each);
	struct store_spec spec = large_spec(5), one = spec_of(1), two = spec_of(2);
	struct store_blob *b = open_blob(s, &spec);

	CHECK(reserve_spare(b, 2 * each) == 0); /* a quarter of eight is left */
	CHECK(is_held(s, &one));
	CHECK(reserve_spare(b, 1) == 0);
	CHECK(!is_held(s, &one) && is_held(s, &two));
	CHECK(reserve_spare(b, 4 * each) == -ENOSPC);
	CHECK(is_held(s, &two));
	store_blob_close(b);
	store_close(s);
}

/* The file system is not only ours: what is counted here is only nearly so. */
static void what_is_spare_leaves_some_of_the_disk(void)
{
	static const uint64_t mib = 1 << 20;
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	CLEANUP_STORE_BLOB struct store_blob *b = NULL;
	struct statvfs vfs;
	uint64_t free;

	spec.size = UINT64_C(1) << 43;
	b = open_blob(f.s, &spec);
	CHECK(statvfs(f.at, &vfs) == 0);
	free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	if (free >= spec.size || free < 8192 * mib)
		return; /* no disk to see it on */
	CHECK(reserve_spare(b, free - 128 * mib) == -ENOSPC);
	CHECK(reserve_spare(b, free - 5120 * mib) == 0);
	CHECK(reserve(b, 4096 * mib) == 0); /* the rest is for those who write there meanwhile */
}

static bool says(reserver *how, struct store_blob *b, uint64_t bytes, const char *words)
{
	CLEANUP_ERROR struct error *err = NULL;
	bool found = how(b, bytes, &err) < 0 && strstr(err->msg, words);

	if (!found)
		printf("# %s\n", err ? err->msg : "there is room");
	return found;
}

/* Of a disk, somebody else's is what it has. */
static void who_leaves_some_is_told_how_much(void)
{
	static const uint64_t mib = 1 << 20;
	FIXTURE limited = begin(100 * mib), unlimited = begin(0);
	struct store_spec spec = large_spec(1), huge = large_spec(2);
	CLEANUP_STORE_BLOB struct store_blob *b = NULL, *d = NULL;

	spec.size = 1000 * mib;
	b = open_blob(limited.s, &spec);
	CHECK(says(store_blob_reserve_spare, b, 80 * mib,
		": of its 100 MiB, 0 B are in use, and 25.0 MiB stay free:"));
	CHECK(says(store_blob_reserve, b, 101 * mib, ": of its 100 MiB, 0 B are in use:"));
	huge.size = UINT64_C(1) << 43;
	d = open_blob(unlimited.s, &huge);
	if (reserve(d, UINT64_MAX) == 0)
		return; /* no disk to see it on */
	CHECK(says(store_blob_reserve_spare, d, UINT64_MAX, " stay free:"));
	CHECK(says(store_blob_reserve, d, UINT64_MAX, " are promised:"));
}

/* What the lock's file says is promised; UINT64_MAX: nothing. */
static uint64_t noted(const struct fixture *f)
{
	CLEANUP_FREE char *path = xasprintf("%s/lock", f->at);
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t both[2];

	return pread(fd, both, sizeof(both), 0) == sizeof(both) && both[1] == ~both[0] ? both[0]
										       : UINT64_MAX;
}

static void say_noted(const struct fixture *f, uint64_t sum)
{
	CLEANUP_FREE char *path = xasprintf("%s/lock", f->at);
	uint64_t both[2] = { sum, ~sum };

	patch(path, 0, both, sizeof(both));
}

/* Who finds no room in what is noted looks again, and notes what he finds. */
static void what_is_promised_is_noted_and_found_anew_when_it_seems_too_much(void)
{
	FIXTURE f = begin(0);
	struct store_spec one = large_spec(1), two = large_spec(2);
	struct store_blob *a = open_blob(f.s, &one), *b = open_blob(f.s, &two);

	CHECK_U64(noted(&f), UINT64_MAX);
	CHECK(reserve(a, 10 * FRAME) == 0);
	CHECK_U64(noted(&f), 10 * FRAME);
	CHECK(reserve(b, 20 * FRAME) == 0);
	CHECK_U64(noted(&f), 30 * FRAME);
	store_blob_close(a); /* gives back what nobody learns of */
	CHECK(reserve(b, FRAME) == 0);
	CHECK_U64(noted(&f), 31 * FRAME);
	say_noted(&f, UINT64_MAX / 2);
	CHECK(reserve(b, FRAME) == 0);
	CHECK_U64(noted(&f), 22 * FRAME);
	store_blob_close(b);
}

static void what_a_limited_store_promises_is_noted_for_those_without_a_limit(void)
{
	FIXTURE f = begin(100 * FRAME);
	struct store_spec one = large_spec(1);
	CLEANUP_STORE_BLOB struct store_blob *a = open_blob(f.s, &one);

	CHECK(reserve(a, 10 * FRAME) == 0);
	CHECK_U64(noted(&f), 10 * FRAME);
	say_noted(&f, 0);
	CHECK(reserve(a, 90 * FRAME + 1) == -ENOSPC); /* a limit is never taken on trust */
	CHECK(reserve(a, 10 * FRAME) == 0);
	CHECK_U64(noted(&f), 20 * FRAME);
}

static void what_killed_processes_left_is_pruned(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1), kept = spec_of(2);
	CLEANUP_FREE char *map = path_of(&f, &spec, "map");
	CLEANUP_FREE char *cache = path_of(&f, &spec, "cache");
	CLEANUP_FREE char *blobs = xasprintf("%s/blobs", f.at);
	uint64_t bytes;
	size_t n;

	fill(f.s, &spec);
	fill(f.s, &kept);
	bytes = bytes_on_disk(cache);
	unlink(map);
	CHECK(!is_held(f.s, &spec));
	CHECK_U64(prune(f.s, UINT64_MAX, &n), bytes);
	CHECK_U64(n, 0);
	CHECK_U64(count_entries(blobs), 2);
	CHECK(is_held(f.s, &kept));
}

static void a_damaged_map_is_listed_without_frames_and_pruned(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	CLEANUP_FREE char *map = path_of(&f, &spec, "map");
	struct store_entry e;
	size_t n;

	fill(f.s, &spec);
	patch(map, 100, "damage", 6);
	e = listed(f.s, &spec, NULL);
	CHECK(e.cached > 0 && !e.n_frames && !e.size && !e.present);
	prune(f.s, 0, &n);
	CHECK_U64(n, 1);
}

/* --- several processes --- */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A child that opens the blob when the parent has it, and says how that went. Before, it sends a
 * byte. */
static pid_t opener(const struct fixture *f, const struct store_spec *spec, int result)
{
	pid_t child = fork();

	if (child == 0) {
		CLEANUP_ERROR struct error *err = NULL;
		struct store *s = open_store(f->at, 0);
		struct store_blob *b;
		uint32_t present;

		interrupt_catch();
		if (write(result, "", 1) < 0)
			_exit(1);
		b = store_blob_open(s, spec, &err);
		present = b ? store_blob_present(b) : 1000;
		if (write(result, &present, sizeof(present)) < 0)
			_exit(1);
		_exit(0);
	}
	return child;
}

static bool has_answered(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

static void a_second_filler_waits_for_the_first(void)
{
	for (int complete = 0; complete < 2; complete++) {
		FIXTURE f = begin(0);
		struct store_spec spec = spec_of(1);
		struct store_blob *b = open_blob(f.s, &spec);
		uint32_t present = 0;
		int result[2];
		pid_t child;
		char byte;

		CHECK(pipe(result) == 0);
		child = opener(&f, &spec, result[1]);
		CHECK(read(result[0], &byte, 1) == 1);
		usleep(150000);
		CHECK(!has_answered(result[0]));
		for (uint32_t i = 0; i < (complete ? N_FRAMES : 4); i++)
			put(b, &spec, i);
		if (complete)
			sync_blob(b); /* we keep it open */
		else
			store_blob_close(b);
		CHECK(read(result[0], &present, sizeof(present)) == sizeof(present));
		CHECK_U64(present, complete ? N_FRAMES : 4);
		waitpid(child, NULL, 0);
		if (complete)
			store_blob_close(b);
		close(result[0]);
		close(result[1]);
	}
}

static void an_interrupt_ends_the_waiting(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	struct store_blob *b = open_blob(f.s, &spec);
	CLEANUP_FREE char *path = xasprintf("%s/lock", f.at);

	for (int at_lock = 0; at_lock < 2; at_lock++) {
		CLEANUP_FD int lock = open(path, O_RDWR | O_CLOEXEC);
		uint32_t present = 0;
		int result[2];
		pid_t child;
		double begun;
		char byte;

		CHECK(pipe(result) == 0);
		child = opener(&f, &spec, result[1]);
		CHECK(read(result[0], &byte, 1) == 1);
		usleep(300000);
		if (at_lock)
			flock(lock, LOCK_EX);
		begun = now();
		kill(child, SIGINT);
		CHECK(read(result[0], &present, sizeof(present)) == sizeof(present));
		CHECK_U64(present, 1000);
		CHECK(now() - begun < 60); /* 0.1 s, where nothing else is going on */
		waitpid(child, NULL, 0);
		close(result[0]);
		close(result[1]);
	}
	store_blob_close(b);
}

int main(void)
{
	log_set_level(LOG_QUIET);
	RUN(what_was_used_least_recently_goes_first);
	RUN(a_reservation_evicts_no_more_than_it_needs);
	RUN(what_is_in_use_is_kept);
	RUN(what_is_removed_stays_good_for_who_has_it_open);
	RUN(without_room_the_error_is_ENOSPC_and_nothing_is_evicted);
	RUN(a_reservation_counts_for_others_and_is_given_back);
	RUN(a_reservation_dies_with_its_process);
	RUN(what_is_complete_needs_no_more);
	RUN(space_that_is_taken_already_is_not_asked_for_again);
	RUN(without_a_limit_the_disk_is_the_limit);
	RUN(what_is_spare_leaves_some_of_the_limit);
	RUN(what_is_spare_takes_the_place_of_what_nobody_uses);
	RUN(what_is_spare_leaves_some_of_the_disk);
	RUN(who_leaves_some_is_told_how_much);
	RUN(what_is_promised_is_noted_and_found_anew_when_it_seems_too_much);
	RUN(what_a_limited_store_promises_is_noted_for_those_without_a_limit);
	RUN(what_killed_processes_left_is_pruned);
	RUN(a_damaged_map_is_listed_without_frames_and_pruned);
	RUN(a_second_filler_waits_for_the_first);
	RUN(an_interrupt_ends_the_waiting);
	return tap_done();
}
