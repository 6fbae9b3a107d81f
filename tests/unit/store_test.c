// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/store/store.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>

#include "fmt/le.h"
#include "fmt/presence_map.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

enum { FRAME = 8192, N_FRAMES = 13, SIZE = N_FRAMES * FRAME - 100 };

/* A store in a directory of its own. */
struct fixture {
	char *dir; /* removed at the end */
	char *at; /* the store's */
	struct store *s;
};

static struct store *open_store(const char *at, uint64_t limit)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct store *s = store_open(at, limit, &err);

	if (!CHECK(s != NULL)) {
		printf("# %s\n", err->msg);
		exit(99);
	}
	return s;
}

static struct fixture begin(uint64_t limit)
{
	struct fixture f = { .dir = tmpdir_make() };

	f.at = xasprintf("%s/deep/store", f.dir);
	f.s = open_store(f.at, limit);
	return f;
}

static void end(struct fixture *f)
{
	store_close(f->s);
	tmpdir_remove(f->dir);
	free(f->dir);
	free(f->at);
}
#define FIXTURE CLEANUP(end) struct fixture

/* Blob number i: all of them differ. */
static struct store_spec spec_of(int i)
{
	struct store_spec spec = { .size = SIZE, .n_frames = N_FRAMES };

	digest_of(&spec.digest, i % 2 ? DIGEST_SHA512 : DIGEST_SHA256, &i, sizeof(i));
	digest_of(&spec.index, DIGEST_SHA256, "index", 5);
	return spec;
}

/* One to reserve much for. */
static struct store_spec large_spec(int i)
{
	struct store_spec spec = spec_of(i);

	spec.n_frames = 1000;
	spec.size = 1000 * FRAME;
	return spec;
}

static struct store_blob *try_open(struct store *s, const struct store_spec *spec)
{
	CLEANUP_ERROR struct error *err = NULL;

	return store_blob_open(s, spec, &err);
}

static struct store_blob *open_blob(struct store *s, const struct store_spec *spec)
{
	struct store_blob *b = try_open(s, spec);

	if (!CHECK(b != NULL))
		exit(99);
	return b;
}

static size_t frame_len(const struct store_spec *spec, uint32_t frame)
{
	uint64_t at = (uint64_t)frame * FRAME;

	return spec->size - at < FRAME ? (size_t)(spec->size - at) : FRAME;
}

static void frame_bytes(const struct store_spec *spec, uint32_t frame, uint8_t out[static FRAME])
{
	uint64_t state = get_le64(spec->digest.bytes) + frame;

	for (size_t i = 0; i < FRAME; i += 8)
		put_le64(out + i, random_u64(&state));
}

static void put(struct store_blob *b, const struct store_spec *spec, uint32_t frame)
{
	CLEANUP_ERROR struct error *err = NULL;
	uint8_t bytes[FRAME];

	frame_bytes(spec, frame, bytes);
	CHECK(store_blob_write(
		      b, frame, (uint64_t)frame * FRAME, bytes, frame_len(spec, frame), &err) == 0);
	CHECK(store_blob_has(b, frame));
}

static bool is_right(const struct store_blob *b, const struct store_spec *spec, uint32_t frame)
{
	size_t len = frame_len(spec, frame);
	uint8_t want[FRAME], got[FRAME];

	frame_bytes(spec, frame, want);
	return pread(store_blob_fd(b), got, len, (off_t)frame * FRAME) == (ssize_t)len &&
	       memcmp(want, got, len) == 0;
}

static void fill(struct store *s, const struct store_spec *spec)
{
	CLEANUP_STORE_BLOB struct store_blob *b = open_blob(s, spec);

	for (uint32_t i = 0; i < spec->n_frames; i++)
		put(b, spec, i);
}

static void sync_blob(struct store_blob *b)
{
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(store_blob_sync(b, &err) == 0);
}

static int reserve(struct store_blob *b, uint64_t bytes)
{
	CLEANUP_ERROR struct error *err = NULL;
	int rc = store_blob_reserve(b, bytes, &err);

	if (rc < 0) {
		CHECK_U64((uint64_t)err->code, ENOSPC);
		CHECK(err->hint != NULL);
	}
	return rc < 0 ? -err->code : 0;
}

/* The path of a blob's file; the caller frees it. */
static char *path_of(const struct fixture *f, const struct store_spec *spec, const char *suffix)
{
	char digest[DIGEST_MAX_STR];

	digest_format(&spec->digest, digest);
	*strchr(digest, ':') = '-';
	return xasprintf("%s/blobs/%s.%s", f->at, digest, suffix);
}

static size_t set_aside(const struct fixture *f)
{
	CLEANUP_FREE char *aside = xasprintf("%s/aside", f->at);

	return count_entries(aside);
}

static uint64_t prune(struct store *s, uint64_t keep, size_t *n)
{
	CLEANUP_ERROR struct error *err = NULL;
	uint64_t freed = 0;

	*n = 0;
	CHECK(store_prune(s, keep, &freed, n, &err) == 0);
	return freed;
}

/* How the store lists this blob; n_frames 0: not at all. */
static struct store_entry listed(struct store *s, const struct store_spec *spec, size_t *place)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE struct store_entry *list = NULL;
	size_t n = 0;

	CHECK(store_list(s, &list, &n, &err) == 0);
	for (size_t i = 0; i < n; i++)
		if (digest_equal(&list[i].digest, &spec->digest)) {
			if (place)
				*place = i;
			return list[i];
		}
	return (struct store_entry){ 0 };
}

static bool is_held(struct store *s, const struct store_spec *spec)
{
	return listed(s, spec, NULL).n_frames > 0;
}

/* --- opening a store --- */

static void a_store_is_made_with_its_parents_for_its_owner_alone(void)
{
	static const char *const files[] = { "lock", "version" };
	FIXTURE f = begin(0);
	struct stat st;

	CHECK(stat(f.at, &st) == 0);
	CHECK_U64(st.st_mode & 07777, 0700);
	for (size_t i = 0; i < 2; i++) {
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

	if (geteuid() == 0) {
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

static void patch(const char *path, uint64_t offset, const void *bytes, size_t len)
{
	CLEANUP_FD int fd = open(path, O_RDWR);

	if (!CHECK(pwrite(fd, bytes, len, (off_t)offset) == (ssize_t)len))
		exit(99);
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

static void another_spec_sets_the_blob_aside(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1), other;

	for (int i = 0; i < 3; i++) {
		half_fill(f.s, &spec);
		other = spec;
		if (i == 0)
			other.index.bytes[31] ^= 1;
		else if (i == 1)
			other.size++;
		else
			other.n_frames++;
		check_begun_anew(&f, &other, 2);
		check_begun_anew(&f, &spec, 2);
	}
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

static void open_other(const struct fixture *f)
{
	struct store_spec spec = spec_of(1);

	spec.index.bytes[0] ^= 1;
	store_blob_close(open_blob(f->s, &spec));
}

static void one_line_warns_of_what_is_set_aside(void)
{
	FIXTURE f = begin(0);
	struct store_spec spec = spec_of(1);

	half_fill(f.s, &spec);
	capture(open_other, &f);
	CHECK(strstr(said, "set aside: it was made with another chunk index") != NULL);
	CHECK(strchr(said, '\n') && !strchr(said, '\n')[1]);
	capture(open_other, &f);
	CHECK_STR(said, "");
}

/* --- space --- */

static uint64_t bytes_on_disk(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* Opened in the order of their numbers, but for number 0, which was opened last. */
static uint64_t fill_four(const struct fixture *f)
{
	struct store_spec spec = spec_of(0);
	CLEANUP_FREE char *cache = path_of(f, &spec, "cache");

	for (int i = 0; i < 4; i++) {
		spec = spec_of(i);
		fill(f->s, &spec);
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
	size_t place, n;

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

/* A child that opens the blob when the parent has it, and says how that went. */
static pid_t opener(const struct fixture *f, const struct store_spec *spec, int result)
{
	pid_t child = fork();

	if (child == 0) {
		CLEANUP_ERROR struct error *err = NULL;
		struct store *s = open_store(f->at, 0);
		struct store_blob *b;
		uint32_t present;

		interrupt_catch();
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

		CHECK(pipe(result) == 0);
		child = opener(&f, &spec, result[1]);
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

		CHECK(pipe(result) == 0);
		child = opener(&f, &spec, result[1]);
		usleep(300000);
		if (at_lock)
			flock(lock, LOCK_EX);
		begun = now();
		kill(child, SIGINT);
		CHECK(read(result[0], &present, sizeof(present)) == sizeof(present));
		CHECK_U64(present, 1000);
		CHECK(now() - begun < 5); /* 0.1 s, where nothing else is going on */
		waitpid(child, NULL, 0);
		close(result[0]);
		close(result[1]);
	}
	store_blob_close(b);
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
	RUN(a_complete_blob_is_shared_and_not_written_again);
	RUN(a_frame_outside_of_its_blob_is_refused);
	RUN(odd_specs_are_refused);
	RUN(the_smallest_and_the_largest_map_work);
	RUN(many_threads_write_while_others_sync);
	RUN(frames_of_a_failed_sync_are_not_there_any_more);
	RUN(a_map_that_cannot_be_synced_is_written_again);
	RUN(any_changed_byte_of_a_header_sets_the_blob_aside);
	RUN(headers_that_say_what_cannot_be_set_the_blob_aside);
	RUN(bits_behind_the_last_frame_set_the_blob_aside);
	RUN(a_cache_of_another_size_sets_the_blob_aside);
	RUN(a_missing_half_begins_anew);
	RUN(what_is_no_file_is_set_aside);
	RUN(another_spec_sets_the_blob_aside);
	RUN(one_line_warns_of_what_is_set_aside);
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
	RUN(what_killed_processes_left_is_pruned);
	RUN(a_damaged_map_is_listed_without_frames_and_pruned);
	RUN(a_second_filler_waits_for_the_first);
	RUN(an_interrupt_ends_the_waiting);
	free(said);
	return tap_done();
}
