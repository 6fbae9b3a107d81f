// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* One cache file that two fill: its filler, and who must read the file that has the name. */
#include "config.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/store_fixture.h"

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
	struct store_blob *filler = open_blob(f.s, &spec), *other;
	CLEANUP_FREE char *cache = path_of(&f, &spec, "cache");
	struct stat st;

	put(filler, &spec, 2);
	sync_blob(filler);
	CHECK(store_blob_watch(filler, &err) == 0 && store_blob_watch(filler, &err) == 0);
	other = open_shared(f.s, &spec);
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
	other = open_shared(f.s, &spec);
	CHECK(fstat(store_blob_fd(other), &st) == 0 && st.st_ino == inode_of(cache));
	CHECK_U64(store_blob_present(other), 1);
	store_blob_close(other);
}

/* The mark stays when the filler dies; who has the descriptor may be another process. */
static void nor_does_anybody_fill_it_after_its_filler(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	const struct store_spec spec = spec_of(1);
	FIXTURE f = begin(0);
	struct store_blob *filler = open_blob(f.s, &spec), *guest = open_shared(f.s, &spec), *other;

	CHECK(store_blob_watch(guest, &err) == 0);
	store_blob_close(filler);
	other = open_shared(f.s, &spec);
	put(other, &spec, 3);
	CHECK(!is_right(guest, &spec, 3));
	store_blob_close(other);
	store_blob_close(guest);
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
	RUN(what_is_complete_needs_no_filler);
	RUN(a_store_is_opened_through_a_descriptor);
	RUN(a_file_is_in_use_while_somebody_has_it_open);
	return tap_done();
}
