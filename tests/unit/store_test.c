// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Opening, filling, and what is damaged. */
#include "config.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>

#include "lib/base/privilege.h"
#include "tests/unit/store_fixture.h"

/* --- opening a store --- */

static void a_store_is_made_with_its_parents_for_its_owner_alone(void)
{
	static const char *const files[] = { "lock", "owner", "version" };
	FIXTURE f = begin(0);
	struct stat st;

	CHECK(stat(f.at, &st) == 0);
	CHECK_U64(st.st_mode & 07777, 0700);
	for (size_t i = 0; i < 3; i++) {
		CLEANUP_FREE char *path = xasprintf("%s/%s", f.at, files[i]);

		CHECK(stat(path, &st) == 0);
		CHECK_U64(st.st_mode & 07777, 0600);
	}
	store_close(open_store(f.at, 0)); /* and it can be opened again */
}

static void refused_store(const char *at, const char *says)
{
	CLEANUP_ERROR struct error *err = NULL;
	size_t before = count_entries(at);
	struct store *s = store_open(at, 0, &err);

	if (!CHECK(!s && err)) {
		store_close(s);
		return;
	}
	if (!CHECK(strstr(err->msg, says) != NULL))
		printf("# saw: %s\n", err->msg);
	CHECK(err->hint != NULL);
	CHECK_U64(count_entries(at), before);
}

static void a_directory_with_other_things_is_refused_and_stays_as_it_is(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *other = xasprintf("%s/other", dir);
	CLEANUP_FREE char *blobs = xasprintf("%s/blobs", dir);

	write_file(other, "x", 1);
	refused_store(dir, "other things");
	unlink(other);
	mkdir(blobs, 0700); /* as in an image layout */
	refused_store(dir, "other things");
}

static void what_belongs_beside_a_store_and_what_was_begun_is_no_hindrance(void)
{
	static const char *const names[] = { "rw", "lost+found", "aside" };
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *lock = xasprintf("%s/lock", dir);
	CLEANUP_FREE char *blobs = xasprintf("%s/blobs", dir);

	for (size_t i = 0; i < 3; i++) {
		CLEANUP_FREE char *path = xasprintf("%s/%s", dir, names[i]);

		mkdir(path, 0755);
	}
	write_file(lock, "", 0);
	mkdir(blobs, 0700);
	store_close(open_store(dir, 0));
}

static void a_store_of_another_version_is_refused(void)
{
	FIXTURE f = begin(0);
	CLEANUP_FREE char *version = xasprintf("%s/version", f.at);
	static const char *const odd[] = { "erofs-convert store 2\n", "", "erofs-convert store 1",
		"erofs-convert store 1\nx", "\1\2\3" };

	for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		write_file(version, odd[i], strlen(odd[i]));
		refused_store(f.at, "this version");
	}
}

static void a_store_that_others_may_write_to_is_refused(void)
{
	FIXTURE f = begin(0);

	chmod(f.at, 0720);
	refused_store(f.at, "others may write");
	chmod(f.at, 0702);
	refused_store(f.at, "others may write");
	chmod(f.at, 0755);
	store_close(open_store(f.at, 0));
	if (geteuid() == 0 && chown(f.at, 12345, (gid_t)-1) == 0)
		refused_store(f.at, "another user");
}

static void many_may_begin_one_store_at_once(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *at = xasprintf("%s/a/b", dir);
	int status, good = 0;

	for (int i = 0; i < 8; i++)
		if (fork() == 0) {
			CLEANUP_ERROR struct error *err = NULL;

			_exit(store_open(at, 0, &err) ? 0 : 1);
		}
	while (wait(&status) > 0)
		good += status == 0;
	CHECK_U64((uint64_t)good, 8);
}

static void the_default_place_follows_the_users_variables(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *a = NULL, *b = NULL, *c = NULL;

	if (privilege_is_full_root()) {
		a = store_default_dir(&err);
		CHECK_STR(a, "/var/lib/erofs-convert");
		if (seteuid(65534) < 0)
			return;
		free(a);
	}
	setenv("XDG_DATA_HOME", "/data", 1);
	setenv("HOME", "/home/u", 1);
	a = store_default_dir(&err);
	CHECK_STR(a, "/data/erofs-convert");
	setenv("XDG_DATA_HOME", "relative", 1);
	b = store_default_dir(&err);
	CHECK_STR(b, "/home/u/.local/share/erofs-convert");
	unsetenv("HOME");
	c = store_default_dir(&err);
	CHECK(!c && err && err->hint);
	if (getuid() == 0)
		CHECK(seteuid(0) == 0);
}

/* --- filling --- */

static void a_new_blob_is_empty_and_has_its_size(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	CLEANUP_STORE_BLOB struct store_blob *b = open_blob(f.s, &spec);
	struct stat st;

	CHECK_U64(store_blob_present(b), 0);
	CHECK(!store_blob_is_complete(b) && !store_blob_has(b, 0));
	CHECK(*store_blob_path(b) == '/');
	CHECK(stat(store_blob_path(b), &st) == 0);
	CHECK_U64((uint64_t)st.st_size, SIZE);
	CHECK_U64(st.st_mode & 07777, 0600);
}

static void bits_are_there_again_after_closing(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	struct store_blob *b = open_blob(f.s, &spec);

	put(b, &spec, 0);
	put(b, &spec, 7);
	put(b, &spec, 7);
	put(b, &spec, 12);
	CHECK_U64(store_blob_present(b), 3);
	store_blob_close(b);
	b = open_blob(f.s, &spec);
	CHECK_U64(store_blob_present(b), 3);
	for (uint32_t i = 0; i < N_FRAMES; i++) {
		CHECK(store_blob_has(b, i) == (i == 0 || i == 7 || i == 12));
		CHECK(!store_blob_has(b, i) || is_right(b, &spec, i));
	}
	CHECK(!store_blob_has(b, N_FRAMES) && !store_blob_has(b, UINT32_MAX));
	store_blob_close(b);
}

/* Against a look at each frame, from and to all places. */
static void check_next_absent(const struct store_blob *b, uint32_t n)
{
	for (uint32_t from = 0; from <= n; from++)
		for (uint32_t end = from; end <= n; end++) {
			uint32_t i = from;

			while (i < end && store_blob_has(b, i))
				i++;
			CHECK_U64(store_blob_next_absent(b, from, end), i);
		}
}

static void the_next_frame_that_is_absent_is_found(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	struct store_blob *b;

	spec.n_frames = 200;
	spec.size = 200 * FRAME;
	b = open_blob(f.s, &spec);
	check_next_absent(b, 200);
	for (uint32_t i = 3; i < 200; i++)
		if (i != 63 && i != 64 && i != 130)
			put(b, &spec, i);
	check_next_absent(b, 200);
	for (uint32_t i = 0; i < 200; i++)
		put(b, &spec, i);
	check_next_absent(b, 200);
	store_blob_close(b);
	b = open_blob(f.s, &spec); /* complete */
	check_next_absent(b, 200);
	store_blob_close(b);
}

static void a_complete_blob_is_shared_and_not_written_again(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(2);
	struct store_blob *b = open_blob(f.s, &spec), *c, *d;

	for (uint32_t i = 0; i < N_FRAMES; i++) {
		CHECK(!store_blob_is_complete(b));
		put(b, &spec, i);
	}
	CHECK(store_blob_is_complete(b));
	sync_blob(b);
	c = open_blob(f.s, &spec); /* while the filler has it open still */
	d = open_blob(f.s, &spec);
	CHECK(store_blob_is_complete(c) && store_blob_is_complete(d));
	CHECK(store_blob_has(c, 3) && !store_blob_has(c, N_FRAMES) && is_right(c, &spec, 12));
	CHECK((fcntl(store_blob_fd(c), F_GETFL) & O_ACCMODE) == O_RDONLY);
	CHECK(store_blob_write(c, 0, 0, "x", 1, &err) < 0 && is_right(c, &spec, 0));
	CHECK(store_blob_reserve(c, UINT64_MAX, &err) == 0);
	sync_blob(b);
	sync_blob(c);
	store_blob_close(b);
	store_blob_close(c);
	store_blob_close(d);
}

static void a_frame_outside_of_its_blob_is_refused(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	CLEANUP_STORE_BLOB struct store_blob *b = open_blob(f.s, &spec);
	static const struct {
		uint32_t frame;
		uint64_t offset;
		size_t len;
	} odd[] = { { N_FRAMES, 0, 1 }, { UINT32_MAX, 0, 1 }, { 0, SIZE, 1 }, { 0, SIZE - 1, 2 },
		{ 0, UINT64_MAX, 1 }, { 0, UINT64_MAX - 1, SIZE }, { 0, 0, SIZE + 1 } };
	static const uint8_t bytes[SIZE + 1];

	for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		CLEANUP_ERROR struct error *err = NULL;

		CHECK(store_blob_write(b, odd[i].frame, odd[i].offset, bytes, odd[i].len, &err) <
			0);
		CHECK(err != NULL);
	}
	CHECK_U64(store_blob_present(b), 0);
}

static void odd_specs_are_refused(void)
{
	FIXTURE f = begin(0);
	static const struct {
		uint64_t size;
		uint32_t n_frames;
	} odd[] = { { 1, 0 }, { 0, 1 }, { 5, 6 }, { UINT64_MAX, 1 }, { INT64_MIN, 1 },
		{ UINT64_C(1) << 40, (1u << 26) + 1 }, { UINT64_C(1) << 40, UINT32_MAX } };

	for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		CLEANUP_ERROR struct error *err = NULL;
		struct store_spec spec = spec_of(1);

		spec.size = odd[i].size;
		spec.n_frames = odd[i].n_frames;
		CHECK(!store_blob_open(f.s, &spec, &err) && err);
	}
}

static void the_smallest_and_the_largest_map_work(void)
{
	FIXTURE f = begin(0);
	struct store_spec none = spec_of(0), most = spec_of(1);
	struct store_blob *b;

	none.size = none.n_frames = 0;
	b = open_blob(f.s, &none);
	CHECK(store_blob_is_complete(b));
	store_blob_close(b);
	most.n_frames = 1u << 26;
	most.size = UINT64_C(1) << 38;
	b = open_blob(f.s, &most);
	put(b, &most, most.n_frames / 2 - 1);
	store_blob_close(b);
	b = open_blob(f.s, &most);
	CHECK_U64(store_blob_present(b), 1);
	CHECK(store_blob_has(b, most.n_frames / 2 - 1));
	store_blob_close(b);
}

struct worker {
	struct store_blob *b;
	const struct store_spec *spec;
	uint32_t first;
};

static void *write_every_fourth(void *arg)
{
	const struct worker *w = arg;

	for (uint32_t i = w->first; i < w->spec->n_frames; i += 4)
		put(w->b, w->spec, i);
	return NULL;
}

static void many_threads_write_while_others_sync(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(3);
	struct store_blob *b;
	pthread_t threads[4];
	struct worker w[4];

	spec.n_frames = 1000;
	spec.size = 1000 * FRAME;
	b = open_blob(f.s, &spec);
	for (uint32_t i = 0; i < 4; i++) {
		w[i] = (struct worker){ b, &spec, i };
		CHECK(pthread_create(&threads[i], NULL, write_every_fourth, &w[i]) == 0);
	}
	while (!store_blob_is_complete(b))
		sync_blob(b);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK_U64(store_blob_present(b), 1000);
	store_blob_close(b);
	b = open_blob(f.s, &spec);
	CHECK(store_blob_is_complete(b));
	for (uint32_t i = 0; i < 1000; i++)
		CHECK(is_right(b, &spec, i));
	store_blob_close(b);
}

/* --- a disk that fails --- */

static int fail_sync; /* this call from now on fails; 0: none */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
	if (fail_sync && --fail_sync == 0) {
		errno = EIO;
		return -1;
	}
	return __real_fdatasync(fd);
}

static void frames_of_a_failed_sync_are_not_there_any_more(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	struct store_blob *b = open_blob(f.s, &spec);

	put(b, &spec, 0);
	sync_blob(b);
	for (uint32_t i = 1; i < N_FRAMES; i++)
		put(b, &spec, i);
	fail_sync = 1; /* of the cache */
	CHECK(store_blob_sync(b, &err) < 0 && err->code == EIO);
	CHECK_U64(store_blob_present(b), 1);
	CHECK(store_blob_has(b, 0) && !store_blob_has(b, 1) && !store_blob_is_complete(b));
	put(b, &spec, 5);
	store_blob_close(b);
	b = open_blob(f.s, &spec);
	CHECK_U64(store_blob_present(b), 2);
	store_blob_close(b);
}

/* A write that does not return until its file's sync has failed; as good as forever is 1/4 s. */
static bool hold_write;
static sem_t written, sync_failed;

ssize_t __real_pwrite(int fd, const void *p, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *p, size_t len, off_t offset);

ssize_t __wrap_pwrite(int fd, const void *p, size_t len, off_t offset)
{
	ssize_t n = __real_pwrite(fd, p, len, offset);
	struct timespec until;

	if (hold_write) {
		hold_write = false;
		sem_post(&written);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 250000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		sem_timedwait(&sync_failed, &until);
	}
	return n;
}

/* Its bit may be gone again by the time that it returns. */
static void *write_one(void *arg)
{
	static const uint8_t bytes[FRAME];
	CLEANUP_ERROR struct error *err = NULL;
	const struct worker *w = arg;

	CHECK(store_blob_write(w->b, w->first, (uint64_t)w->first * FRAME, bytes, FRAME, &err) ==
		0);
	return NULL;
}

static void so_is_a_frame_that_was_being_written_meanwhile(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	struct store_blob *b = open_blob(f.s, &spec);
	struct worker w = { b, &spec, 7 };
	pthread_t thread;

	sem_init(&written, 0, 0);
	sem_init(&sync_failed, 0, 0);
	put(b, &spec, 1);
	hold_write = true;
	CHECK(pthread_create(&thread, NULL, write_one, &w) == 0);
	sem_wait(&written);
	fail_sync = 1;
	CHECK(store_blob_sync(b, &err) < 0 && err->code == EIO);
	sem_post(&sync_failed);
	pthread_join(thread, NULL);
	CHECK(!store_blob_has(b, 7));
	CHECK_U64(store_blob_present(b), 0);
	store_blob_close(b);
}

static void a_map_that_cannot_be_synced_is_written_again(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	CLEANUP_FREE char *map = path_of(&f, &spec, "map");
	struct store_blob *b = open_blob(f.s, &spec);
	CLEANUP_FD int fd = open(map, O_RDWR);
	uint8_t bits[2] = { 0 };

	put(b, &spec, 3);
	fail_sync = 2;
	CHECK(store_blob_sync(b, &err) < 0 && err->code == EIO);
	CHECK_U64(store_blob_present(b), 1); /* its data is on the disk */
	CHECK(pwrite(fd, bits, 2, PRESENCE_MAP_BITS) == 2); /* the disk's loss */
	sync_blob(b);
	CHECK(pread(fd, bits, 2, PRESENCE_MAP_BITS) == 2);
	CHECK_U64(bits[0], 8);
	store_blob_close(b);
}

/* --- what is damaged --- */

/* A half-filled blob, closed. */
static void half_fill(struct store *s, const struct store_spec *spec)
{
	struct store_blob *b = open_blob(s, spec);

	for (uint32_t i = 0; i < N_FRAMES / 2; i++)
		put(b, spec, i);
	store_blob_close(b);
}

/* Opening it must set the old one aside, both files, and begin anew. */
static void check_begun_anew(const struct fixture *f, const struct store_spec *spec, size_t files)
{
	size_t n, before = set_aside(f);
	struct store_blob *b = open_blob(f->s, spec);

	CHECK_U64(set_aside(f) - before, files);
	CHECK_U64(store_blob_present(b), 0);
	put(b, spec, 1);
	store_blob_close(b);
	b = open_blob(f->s, spec);
	CHECK_U64(store_blob_present(b), 1);
	store_blob_close(b);
	prune(f->s, UINT64_MAX, &n);
	CHECK_U64(set_aside(f), 0);
}

static void any_changed_byte_of_a_header_sets_the_blob_aside(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	CLEANUP_FREE char *map = path_of(&f, &spec, "map");

	/* all that have a meaning, and some that are reserved */
	for (uint32_t at = 0; at < PRESENCE_MAP_HEADER; at += at < 176 ? 1 : 243) {
		uint8_t byte;
		CLEANUP_FD int fd = -1;

		half_fill(f.s, &spec);
		fd = open(map, O_RDWR);
		CHECK(pread(fd, &byte, 1, at) == 1);
		byte ^= 1 << at % 8;
		patch(map, at, &byte, 1);
		check_begun_anew(&f, &spec, 2);
	}
}

/* Headers that are well made, but say what cannot be. */
static void forged(const struct fixture *f, const struct presence_map *m, uint64_t file_size)
{
	struct store_spec spec = spec_of(1);
	CLEANUP_FREE char *path = path_of(f, &spec, "map");
	uint8_t header[PRESENCE_MAP_HEADER];

	half_fill(f->s, &spec);
	presence_map_put(header, m);
	patch(path, 0, header, sizeof(header));
	CHECK(truncate(path, (off_t)file_size) == 0);
	check_begun_anew(f, &spec, 2);
}

static void headers_that_say_what_cannot_be_set_the_blob_aside(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	struct presence_map m = { .size = SIZE, .n_frames = N_FRAMES }, n;

	m.digest.algo = PRESENCE_SHA512;
	memcpy(m.digest.bytes, spec.digest.bytes, 64);
	m.index.algo = PRESENCE_SHA256;
	memcpy(m.index.bytes, spec.index.bytes, 32);
	forged(&f, &m, PRESENCE_MAP_BITS + 1); /* too short, too long */
	forged(&f, &m, PRESENCE_MAP_BITS + 3);
	forged(&f, &m, PRESENCE_MAP_HEADER);
	forged(&f, &m, PRESENCE_MAP_HEADER - 1);
	forged(&f, &m, 0);
	n = m;
	n.n_frames = PRESENCE_MAP_FRAMES_MAX + 8;
	n.size = INT64_MAX;
	forged(&f, &n, PRESENCE_MAP_BITS + 2);
	n.n_frames = PRESENCE_MAP_FRAMES_MAX;
	forged(&f, &n, PRESENCE_MAP_BITS + 2); /* more than the file has */
	n = m;
	n.size = UINT64_MAX;
	forged(&f, &n, PRESENCE_MAP_BITS + 2);
	n = m;
	n.n_frames = 0;
	forged(&f, &n, PRESENCE_MAP_BITS);
	n = m;
	n.digest.algo = 3;
	forged(&f, &n, PRESENCE_MAP_BITS + 2);
	n = m;
	n.index.bytes[40] = 1;
	forged(&f, &n, PRESENCE_MAP_BITS + 2);
	n = m;
	n.digest.bytes[0] ^= 1;
	forged(&f, &n, PRESENCE_MAP_BITS + 2);
}

static void bits_behind_the_last_frame_set_the_blob_aside(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	CLEANUP_FREE char *map = path_of(&f, &spec, "map");

	for (uint32_t bit = N_FRAMES; bit < 16; bit++) {
		uint8_t byte = (uint8_t)(1 << bit % 8);

		half_fill(f.s, &spec);
		patch(map, PRESENCE_MAP_BITS + 1, &byte, 1);
		check_begun_anew(&f, &spec, 2);
	}
}

static void a_cache_of_another_size_sets_the_blob_aside(void)
{
	static const off_t sizes[] = { 0, FRAME, SIZE - 1, SIZE + 1 };
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	CLEANUP_FREE char *cache = path_of(&f, &spec, "cache");

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		half_fill(f.s, &spec);
		CHECK(truncate(cache, sizes[i]) == 0);
		check_begun_anew(&f, &spec, 2);
		fill(f.s, &spec); /* as well when it is complete */
		CHECK(truncate(cache, sizes[i]) == 0);
		check_begun_anew(&f, &spec, 2);
	}
}

static void a_missing_half_begins_anew(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	CLEANUP_FREE char *cache = path_of(&f, &spec, "cache");
	CLEANUP_FREE char *map = path_of(&f, &spec, "map");

	half_fill(f.s, &spec);
	unlink(cache);
	check_begun_anew(&f, &spec, 1);
	half_fill(f.s, &spec);
	unlink(map); /* what is in the cache, nobody knows */
	check_begun_anew(&f, &spec, 0);
}

static void what_is_no_file_is_set_aside(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	CLEANUP_FREE char *cache = path_of(&f, &spec, "cache");
	CLEANUP_FREE char *map = path_of(&f, &spec, "map");

	for (int i = 0; i < 2; i++) {
		const char *path = i ? cache : map;

		half_fill(f.s, &spec);
		unlink(path);
		mkdir(path, 0700);
		check_begun_anew(&f, &spec, 2);
		half_fill(f.s, &spec);
		unlink(path);
		CHECK(symlink("/etc/passwd", path) == 0);
		check_begun_anew(&f, &spec, 2);
		half_fill(f.s, &spec);
		unlink(path);
		mkfifo(path, 0600);
		check_begun_anew(&f, &spec, 2);
	}
}

/* Whoever says wrong things of a blob that others use takes nothing away from them. */
static void another_spec_of_the_same_blob_has_files_of_its_own(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1), other;
	struct store_blob *b, *c;

	half_fill(f.s, &spec);
	b = open_blob(f.s, &spec);
	for (int i = 0; i < 3; i++) {
		other = spec;
		if (i == 0)
			other.index.bytes[31] ^= 1;
		else if (i == 1)
			other.size++;
		else
			other.n_frames++;
		c = open_blob(f.s, &other); /* without waiting for who fills `b` */
		CHECK_U64(store_blob_present(c), 0);
		put(c, &other, N_FRAMES - 2);
		store_blob_close(c);
	}
	CHECK_U64(store_blob_present(b), N_FRAMES / 2);
	CHECK(!is_right(b, &spec, N_FRAMES - 2));
	CHECK(is_right(b, &spec, 0));
	store_blob_close(b);
	CHECK_U64(set_aside(&f), 0);
}

/* As they were called when the blob's digest was all of the name. */
static void files_of_an_older_name_go_when_space_is_made(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(0);
	char hex[DIGEST_MAX_STR];
	size_t n = 0;

	half_fill(f.s, &spec);
	for (int i = 0; i < 2; i++) {
		CLEANUP_FREE char *now = path_of(&f, &spec, i ? "map" : "cache");
		CLEANUP_FREE char *then = xasprintf("%s/blobs/sha256-%s.%s", f.at,
			digest_hex(&spec.digest, hex), i ? "map" : "cache");

		CHECK(rename(now, then) == 0);
	}
	CHECK_U64(listed(f.s, &spec, NULL).present, N_FRAMES / 2);
	CHECK(prune(f.s, 0, &n) > 0);
	CHECK_U64(n, 1);
	CHECK(!is_held(f.s, &spec));
}

static void who_has_it_open_can_tell_that_it_was_set_aside(void)
{
	CLEANUP_ERROR struct error *err = NULL, *other_err = NULL;
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);
	struct store_blob *b, *c;

	half_fill(f.s, &spec);
	b = open_blob(f.s, &spec);
	for (uint32_t i = 0; i < N_FRAMES; i++)
		put(b, &spec, i);
	sync_blob(b);
	CHECK(store_blob_check_path(b, &err) == 0);
	CHECK(store_blob_discard(open_blob(f.s, &spec), &err) == 0);
	c = open_blob(f.s, &spec);
	CHECK(store_blob_check_path(b, &err) < 0 && strstr(err->msg, "no longer") != NULL);
	CHECK(store_blob_check_path(c, &other_err) == 0);
	CHECK(is_right(b, &spec, 0));
	store_blob_close(b);
	store_blob_close(c);
}

static char *said; /* by a child, on stderr */

static void capture(void (*run)(const struct fixture *f), const struct fixture *f)
{
	CLEANUP_FREE char *path = xasprintf("%s/said", f->dir);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), old = dup(2);

	dup2(fd, 2);
	log_set_level(LOG_NORMAL);
	run(f);
	log_set_level(LOG_QUIET);
	dup2(old, 2);
	close(old);
	close(fd);
	free(said);
	said = read_file(path);
}

static void open_again(const struct fixture *f)
{
	struct store_spec spec = spec_of(1);

	store_blob_close(open_blob(f->s, &spec));
}

static void one_line_warns_of_what_is_set_aside(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);

	CLEANUP_FREE char *cache = path_of(&f, &spec, "cache");

	half_fill(f.s, &spec);
	CHECK(truncate(cache, SIZE - 1) == 0);
	capture(open_again, &f);
	CHECK(strstr(said, "set aside: its map says more than its cache file can hold") != NULL);
	CHECK(strchr(said, '\n') && !strchr(said, '\n')[1]);
	capture(open_again, &f);
	CHECK_STR(said, "");
}

int main(void)
{
	log_set_level(LOG_QUIET);
	RUN(a_store_is_made_with_its_parents_for_its_owner_alone);
	RUN(a_directory_with_other_things_is_refused_and_stays_as_it_is);
	RUN(what_belongs_beside_a_store_and_what_was_begun_is_no_hindrance);
	RUN(a_store_of_another_version_is_refused);
	RUN(a_store_that_others_may_write_to_is_refused);
	RUN(many_may_begin_one_store_at_once);
	RUN(the_default_place_follows_the_users_variables);
	RUN(a_new_blob_is_empty_and_has_its_size);
	RUN(bits_are_there_again_after_closing);
	RUN(the_next_frame_that_is_absent_is_found);
	RUN(a_complete_blob_is_shared_and_not_written_again);
	RUN(a_frame_outside_of_its_blob_is_refused);
	RUN(odd_specs_are_refused);
	RUN(the_smallest_and_the_largest_map_work);
	RUN(many_threads_write_while_others_sync);
	RUN(frames_of_a_failed_sync_are_not_there_any_more);
	RUN(so_is_a_frame_that_was_being_written_meanwhile);
	RUN(a_map_that_cannot_be_synced_is_written_again);
	RUN(any_changed_byte_of_a_header_sets_the_blob_aside);
	RUN(headers_that_say_what_cannot_be_set_the_blob_aside);
	RUN(bits_behind_the_last_frame_set_the_blob_aside);
	RUN(a_cache_of_another_size_sets_the_blob_aside);
	RUN(a_missing_half_begins_anew);
	RUN(what_is_no_file_is_set_aside);
	RUN(another_spec_of_the_same_blob_has_files_of_its_own);
	RUN(files_of_an_older_name_go_when_space_is_made);
	RUN(who_has_it_open_can_tell_that_it_was_set_aside);
	RUN(one_line_warns_of_what_is_set_aside);
	free(said);
	return tap_done();
}
