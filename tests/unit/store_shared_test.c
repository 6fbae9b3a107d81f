// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* One cache file that two fill: its filler, and who must read the file that has the name. */
#include "config.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/unit/store_fixture.h"

#include "lib/store/blob.h"
#include "lib/store/lock.h"

static struct store_blob *open_shared(struct store *s, const struct store_spec *spec)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct store_blob *b = store_blob_open_shared(s, spec, &err);

	if (!CHECK(b != NULL)) {
		printf("# %s\n", err->msg);
		exit(99);
	}
	return b;
}

static void who_is_alone_is_the_filler(void)
{
	const struct store_spec spec = spec_of(1);
	FIXTURE f = begin(0);
	struct store_blob *b = open_shared(f.s, &spec);

	for (uint32_t i = 0; i < N_FRAMES; i++)
		put(b, &spec, i);
	store_blob_close(b);
	b = open_blob(f.s, &spec);
	CHECK(store_blob_is_complete(b));
	store_blob_close(b);
}

static void a_guest_knows_what_the_disk_knows_and_writes_to_the_same_file(void)
{
	const struct store_spec spec = spec_of(1);
	FIXTURE f = begin(0);
	struct store_blob *filler = open_blob(f.s, &spec), *guest;
	struct stat one, other;

	put(filler, &spec, 2);
	sync_blob(filler);
	put(filler, &spec, 3); /* in memory only */
	guest = open_shared(f.s, &spec);
	CHECK(fstat(store_blob_fd(filler), &one) == 0 && fstat(store_blob_fd(guest), &other) == 0);
	CHECK_U64(one.st_ino, other.st_ino);
	CHECK(store_blob_has(guest, 2));
	CHECK(!store_blob_has(guest, 3));
	put(guest, &spec, 3);
	put(guest, &spec, 5);
	CHECK(!store_blob_has(filler, 5));
	CHECK(is_right(filler, &spec, 5));
	sync_blob(guest);
	CHECK_U64(store_blob_present(guest), 3);
	store_blob_close(guest);
	store_blob_close(filler);
}

/* Its own word counts: what the map says stays what its filler has synced. */
static void a_guest_completes_without_touching_the_map(void)
{
	const struct store_spec spec = spec_of(1);
	FIXTURE f = begin(0);
	struct store_blob *filler = open_blob(f.s, &spec), *guest = open_shared(f.s, &spec);

	for (uint32_t i = 0; i < N_FRAMES; i++)
		put(guest, &spec, i);
	sync_blob(guest);
	CHECK(store_blob_is_complete(guest));
	store_blob_close(guest);
	store_blob_close(filler);
	filler = open_blob(f.s, &spec);
	CHECK_U64(store_blob_present(filler), 0);
	store_blob_close(filler);
}

static void another_chunk_index_has_another_file(void)
{
	struct store_spec spec = spec_of(1), other = spec;
	FIXTURE f = begin(0);
	struct store_blob *filler = open_blob(f.s, &spec), *one;

	digest_of(&other.index, DIGEST_SHA256, "other", 5);
	one = open_shared(f.s, &other);
	CHECK(strcmp(store_blob_path(one), store_blob_path(filler)) != 0);
	put(filler, &spec, 0);
	CHECK(is_right(filler, &spec, 0));
	CHECK(!is_right(one, &other, 0));
	put(one, &other, 1);
	CHECK(!store_blob_has(filler, 1) && !is_right(filler, &spec, 1));
	store_blob_close(one);
	store_blob_close(filler);
}

static void a_guest_does_not_believe_a_damaged_map(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	const struct store_spec spec = spec_of(1);
	FIXTURE f = begin(0);
	struct store_blob *filler = open_blob(f.s, &spec);
	CLEANUP_FREE char *map = path_of(&f, &spec, "map");

	patch(map, 12, "x", 1);
	CHECK(store_blob_open_shared(f.s, &spec, &err) == NULL);
	CHECK(err && strstr(err->msg, "another process fills it") && err->hint);
	put(filler, &spec, 0); /* and nothing has been set aside */
	CHECK(is_right(filler, &spec, 0));
	store_blob_close(filler);
}

static ino_t inode_of(const char *path)
{
	struct stat st;

	return CHECK(stat(path, &st) == 0) ? st.st_ino : 0;
}

/* Whoever writes to it would wait for the one who watches, and be told what that one is told. */
static void a_cache_that_another_process_watches_is_kept_away_from(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	const struct store_spec spec = spec_of(1);
	FIXTURE f = begin(0);
	CLEANUP_STORE struct store *others = open_store(f.at, 0);
	struct store_blob *filler = open_blob(f.s, &spec), *other;
	CLEANUP_FREE char *cache = path_of(&f, &spec, "cache");
	struct stat st;

	put(filler, &spec, 2);
	sync_blob(filler);
	CHECK(store_blob_watch(filler, &err) == 0 && store_blob_watch(filler, &err) == 0);
	other = open_shared(others, &spec);
	CHECK(fstat(store_blob_fd(other), &st) == 0 && st.st_ino != inode_of(cache));
	CHECK_U64(inode_of(store_blob_path(other)), st.st_ino); /* who mounts it goes by that */
	CHECK_U64(store_blob_present(other), 0);
	for (uint32_t i = 0; i < N_FRAMES; i++)
		put(other, &spec, i);
	sync_blob(other);
	CHECK(store_blob_is_complete(other) && is_right(other, &spec, 3));
	CHECK(!store_blob_has(filler, 3) && !is_right(filler, &spec, 3));
	CHECK(store_blob_watch(other, &err) < 0 && err->hint != NULL);
	store_blob_close(other);
	store_blob_close(filler);
	other = open_shared(others, &spec);
	CHECK(fstat(store_blob_fd(other), &st) == 0 && st.st_ino == inode_of(cache));
	CHECK_U64(store_blob_present(other), 1);
	store_blob_close(other);
}

/* The mark stays when the filler dies; who watches may be another process. */
static void nor_does_anybody_fill_it_after_its_filler(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	const struct store_spec spec = spec_of(1);
	FIXTURE f = begin(0);
	CLEANUP_STORE struct store *others = open_store(f.at, 0);
	struct store_blob *filler = open_blob(f.s, &spec), *guest = open_shared(f.s, &spec), *other;

	CHECK(store_blob_watch(guest, &err) == 0);
	store_blob_close(filler);
	other = open_shared(others, &spec);
	put(other, &spec, 3);
	CHECK(!is_right(guest, &spec, 3));
	store_blob_close(other);
	store_blob_close(guest);
}

/* --- from a process that was killed to the next --- */

/* Its descriptors are closed but for what its holder has: that one. */
static int kill_store(struct fixture *f)
{
	int kept = dup(store_owner_fd(f->s));

	CHECK(kept >= 0);
	store_close(f->s);
	f->s = open_store(f->at, 0);
	return kept;
}

static int make_file(const struct fixture *f, const char *name)
{
	CLEANUP_FREE char *path = xasprintf("%s/mounts-%s", f->at, name);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	return fd;
}

static void what_is_ones_own_stays_so_while_somebody_keeps_the_descriptor(void)
{
	FIXTURE f = begin(0);
	CLEANUP_STORE struct store *others = open_store(f.at, 0);
	CLEANUP_FD int a = make_file(&f, "a"), b = make_file(&f, "b");
	int kept;

	CHECK(store_own(f.s, a) == 0 && store_own(f.s, a) == 0);
	CHECK(store_is_others(others, a) && !store_is_others(others, b));
	CHECK(!store_is_others(f.s, a));
	CHECK(store_own(others, a) < 0 && errno == EWOULDBLOCK);
	kept = kill_store(&f);
	CHECK(store_is_others(others, a));
	CHECK(store_own(others, a) < 0 && errno == EWOULDBLOCK);
	CHECK(store_go_on_as(f.s, kept));
	CHECK(!store_is_others(f.s, a) && store_is_others(others, a));
	CHECK(store_own(f.s, a) == 0);
	store_disown(f.s, a);
	CHECK(!store_is_others(others, a) && store_own(others, a) == 0);
	CHECK(store_own(f.s, a) < 0 && errno == EWOULDBLOCK);
	store_close(f.s); /* nobody keeps it */
	f.s = open_store(f.at, 0);
	store_disown_rest(f.s); /* there is nothing */
	CHECK(store_own(f.s, b) == 0);
}

static void what_nobody_asks_for_again_is_given_back_and_the_rest_is_not(void)
{
	enum { N = 9 };
	FIXTURE f = begin(0);
	CLEANUP_STORE struct store *others = open_store(f.at, 0);
	int fds[N];

	for (int i = 0; i < N; i++) {
		CLEANUP_FREE char *name = xasprintf("%d", i);

		fds[i] = make_file(&f, name);
		CHECK(store_own(f.s, fds[i]) == 0);
	}
	CHECK(store_go_on_as(f.s, kill_store(&f)));
	for (int i = N - 2; i > 0; i -= 3)
		CHECK(store_own(f.s, fds[i]) == 0);
	store_disown_rest(f.s);
	for (int i = 0; i < N; i++) {
		CHECK(store_is_others(others, fds[i]) == (i % 3 == 1));
		close(fds[i]);
	}
}

static void another_stores_descriptor_is_not_taken(void)
{
	FIXTURE f = begin(0);
	FIXTURE g = begin(0);
	CLEANUP_FD int a = make_file(&f, "a");
	int kept = dup(store_owner_fd(g.s));

	CHECK(!store_go_on_as(f.s, kept));
	CHECK(fcntl(kept, F_GETFD) < 0);
	CHECK(store_own(f.s, a) == 0);
}

/* The former process has marks; its successor is no stranger to them. */
static void a_watched_blob_is_opened_again_by_the_next_process(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	const struct store_spec spec = spec_of(1);
	FIXTURE f = begin(0);
	CLEANUP_STORE struct store *others = open_store(f.at, 0);
	struct store_blob *filler = open_blob(f.s, &spec), *other;
	CLEANUP_FREE char *cache = path_of(&f, &spec, "cache");
	struct stat st;
	int kept = dup(store_owner_fd(f.s));

	CHECK(store_blob_watch(filler, &err) == 0);
	filler->watched = false; /* it is killed: nobody gives anything back */
	store_blob_close(filler);
	other = open_shared(others, &spec);
	CHECK(fstat(store_blob_fd(other), &st) == 0 && st.st_ino != inode_of(cache));
	store_close(f.s);
	f.s = open_store(f.at, 0);
	CHECK(store_go_on_as(f.s, kept));
	filler = open_shared(f.s, &spec);
	CHECK(fstat(store_blob_fd(filler), &st) == 0 && st.st_ino == inode_of(cache));
	CHECK(store_blob_watch(filler, &err) == 0);
	store_disown_rest(f.s);
	CHECK(store_is_others(others, store_blob_fd(filler)));
	store_blob_close(filler);
	store_blob_close(other);
}

static void what_is_complete_needs_no_filler(void)
{
	const struct store_spec spec = spec_of(1);
	FIXTURE f = begin(0);
	struct store_blob *b;

	fill(f.s, &spec);
	b = open_shared(f.s, &spec);
	CHECK(store_blob_is_complete(b));
	store_blob_close(b);
}

static void a_store_is_opened_through_a_descriptor(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	const struct store_spec spec = spec_of(1);
	FIXTURE f = begin(0);
	CLEANUP_FD int at = open(f.at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_STORE struct store *s = store_open_at(at, f.at, 0, &err);

	if (!CHECK(s != NULL))
		return;
	fill(s, &spec);
	CHECK(strcmp(store_dir(s), f.at) == 0);
	store_blob_close(open_blob(f.s, &spec));
}

static void a_file_is_in_use_while_somebody_has_it_open(void)
{
	FIXTURE f = begin(0);
	CLEANUP_FD int at = open(f.at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd;

	CHECK(!store_file_in_use(at, "none"));
	fd = openat(at, "some", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(store_file_in_use(at, "some"));
	close(fd);
	CHECK(!store_file_in_use(at, "some"));
	fd = openat(at, "some", O_RDONLY | O_CLOEXEC);
	CHECK(store_file_in_use(at, "some"));
	close(fd);
}

/* A mount that is there must not be taken for one that is gone, nor its cache be evicted. */
static void what_cannot_be_seen_may_be_in_use(void)
{
	const struct store_spec spec = spec_of(1);
	struct presence_map map = map_of_spec(&spec);
	struct rlimit before, none;
	char stem[STORE_STEM_MAX];
	FIXTURE f = begin(0);
	CLEANUP_FD int at = open(f.at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	store_stem(&spec.digest, &map, stem);
	fill(f.s, &spec);
	close(openat(at, "some", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
	none = before;
	none.rlim_cur = 0;
	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	CHECK(store_file_in_use(at, "some"));
	CHECK(store_in_use(f.s, stem));
	CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
	CHECK(!store_file_in_use(at, "some"));
	CHECK(!store_in_use(f.s, stem));
}

int main(void)
{
	log_set_level(LOG_QUIET);
	RUN(who_is_alone_is_the_filler);
	RUN(a_guest_knows_what_the_disk_knows_and_writes_to_the_same_file);
	RUN(a_guest_completes_without_touching_the_map);
	RUN(another_chunk_index_has_another_file);
	RUN(a_guest_does_not_believe_a_damaged_map);
	RUN(a_cache_that_another_process_watches_is_kept_away_from);
	RUN(nor_does_anybody_fill_it_after_its_filler);
	RUN(what_is_ones_own_stays_so_while_somebody_keeps_the_descriptor);
	RUN(what_nobody_asks_for_again_is_given_back_and_the_rest_is_not);
	RUN(another_stores_descriptor_is_not_taken);
	RUN(a_watched_blob_is_opened_again_by_the_next_process);
	RUN(what_is_complete_needs_no_filler);
	RUN(a_store_is_opened_through_a_descriptor);
	RUN(a_file_is_in_use_while_somebody_has_it_open);
	RUN(what_cannot_be_seen_may_be_in_use);
	return tap_done();
}
