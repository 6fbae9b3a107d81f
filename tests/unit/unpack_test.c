// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The parts of unpack that stand between a tree and the rest of the system. */
#include "config.h"

#include <errno.h>

#include "lib/base/remove_tree.h"
#include "lib/unpack/dirfds.h"
#include "lib/unpack/place.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

static void make_dir(const char *dir, const char *name)
{
	CLEANUP_FREE char *path = xasprintf("%s/%s", dir, name);

	CHECK(mkdir(path, 0700) == 0);
}

static void make_link(const char *target, const char *dir, const char *name)
{
	CLEANUP_FREE char *path = xasprintf("%s/%s", dir, name);

	CHECK(symlink(target, path) == 0);
}

static bool exists(const char *dir, const char *name)
{
	CLEANUP_FREE char *path = xasprintf("%s/%s", dir, name);
	struct stat st;

	return lstat(path, &st) == 0;
}

static int open_dir(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* True, and *err is gone, if it was refused for this reason. */
static bool refused(struct error **err, int code)
{
	bool ok = *err && (*err)->code == code;

	error_free(*err);
	*err = NULL;
	return ok;
}

static void a_symlink_is_no_directory_to_go_down_into(void)
{
	CLEANUP_TMPDIR char *tmp = tmpdir_make();
	struct dirfds d;
	struct error *err = NULL;

	make_dir(tmp, "real");
	make_link("real", tmp, "link");
	make_link("/", tmp, "root");
	make_link(".", tmp, "self");
	CHECK(dirfds_start(&d, open_dir(tmp), &err) == 0);
	CHECK(dirfds_enter(&d, "real", &err) == 0);
	close(dirfds_leave(&d, &err));
	CHECK(dirfds_enter(&d, "link", &err) < 0 && refused(&err, ENOTDIR));
	CHECK(dirfds_enter(&d, "root", &err) < 0 && refused(&err, ENOTDIR));
	CHECK(dirfds_enter(&d, "self", &err) < 0 && refused(&err, ENOTDIR));
	dirfds_end(&d);
}

static void no_symlink_is_followed_on_the_way_to_a_first_name(void)
{
	CLEANUP_TMPDIR char *tmp = tmpdir_make();
	CLEANUP_FD int root = open_dir(tmp);
	struct error *err = NULL;
	int fd;

	make_dir(tmp, "a");
	make_dir(tmp, "a/b");
	make_link("a", tmp, "l");
	make_link("/", tmp, "a/out");
	fd = dirfds_open_path(root, "a/b/name", 3, &err);
	CHECK(fd >= 0);
	close(fd);
	fd = dirfds_open_path(root, "name", 0, &err);
	CHECK(fd >= 0);
	close(fd);
	CHECK(dirfds_open_path(root, "l/b/name", 3, &err) < 0 && refused(&err, ENOTDIR));
	CHECK(dirfds_open_path(root, "a/out/etc", 5, &err) < 0 && refused(&err, ENOTDIR));
}

/* Deeper than descriptors are kept open; names are as the walk tells them. */
static void go_down(struct dirfds *d, int levels, struct error **err)
{
	for (int i = 0; i < levels; i++) {
		CHECK(mkdirat(dirfds_top(d), "d", 0700) == 0);
		CHECK(dirfds_enter(d, "d", err) == 0);
	}
}

static void deep_directories_are_found_again_on_the_way_up(void)
{
	CLEANUP_TMPDIR char *tmp = tmpdir_make();
	struct dirfds d;
	struct error *err = NULL;
	struct stat top, last;
	int fd = -1;

	CHECK(stat(tmp, &top) == 0);
	CHECK(dirfds_start(&d, open_dir(tmp), &err) == 0);
	go_down(&d, 300, &err);
	for (int i = 0; i < 301; i++) {
		if (fd >= 0)
			close(fd);
		fd = dirfds_leave(&d, &err);
		CHECK(fd >= 0);
	}
	CHECK(fstat(fd, &last) == 0 && last.st_ino == top.st_ino);
	close(fd);
	dirfds_end(&d);
}

static void a_directory_that_was_moved_away_is_noticed(void)
{
	CLEANUP_TMPDIR char *tmp = tmpdir_make();
	CLEANUP_FREE char *from = xasprintf("%s/d/d/d", tmp), *to = xasprintf("%s/moved", tmp);
	struct dirfds d;
	struct error *err = NULL;

	CHECK(dirfds_start(&d, open_dir(tmp), &err) == 0);
	go_down(&d, 300, &err);
	CHECK(rename(from, to) == 0);
	for (int fd = 0; fd >= 0;) {
		fd = dirfds_leave(&d, &err);
		if (fd >= 0)
			close(fd);
	}
	CHECK(err && strstr(err->msg, "moved"));
	CHECK(d.n > 1);
	error_free(err);
	dirfds_end(&d);
}

static void remove_tree_removes_all_and_follows_nothing(void)
{
	CLEANUP_TMPDIR char *tmp = tmpdir_make();
	CLEANUP_FREE char *kept = xasprintf("%s/kept", tmp), *gone = xasprintf("%s/gone", tmp);
	CLEANUP_FREE char *file = xasprintf("%s/kept/file", tmp);
	struct dirfds d;
	struct error *err = NULL;
	int fd;

	make_dir(tmp, "kept");
	make_dir(tmp, "gone");
	write_file(file, "1", 1);
	CHECK(dirfds_start(&d, open_dir(gone), &err) == 0);
	go_down(&d, 500, &err);
	CHECK(symlinkat(kept, dirfds_top(&d), "link") == 0);
	CHECK(mkdirat(dirfds_top(&d), ".moved-0", 0) == 0);
	dirfds_end(&d);
	make_link("../kept", gone, "link");
	make_dir(gone, "closed");
	make_dir(gone, "closed/in");
	chmod(gone, 0700);
	fd = open_dir(gone);
	CHECK(fchmodat(fd, "closed/in", 0, 0) == 0 && fchmodat(fd, "closed", 0, 0) == 0);
	remove_tree_below(fd);
	close(fd);
	CHECK_U64(count_entries(gone), 0);
	CHECK(exists(kept, "file"));
}

static void a_place_that_is_not_finished_leaves_nothing(void)
{
	CLEANUP_TMPDIR char *tmp = tmpdir_make();
	CLEANUP_FREE char *to = xasprintf("%s/new//", tmp), *old = xasprintf("%s/old", tmp);
	struct place p = PLACE_NONE;
	struct error *err = NULL;
	struct stat st;

	CHECK(place_open(&p, to, &err) == 0);
	CHECK(mkdirat(p.fd, "d", 0700) == 0);
	CHECK(fstat(p.fd, &st) == 0 && (st.st_mode & 07777) == 0700);
	CHECK(!exists(tmp, "new"));
	place_free(&p);
	CHECK_U64(count_entries(tmp), 0);

	make_dir(tmp, "old");
	CHECK(chmod(old, 0750) == 0);
	CHECK(place_open(&p, old, &err) == 0);
	CHECK(mkdirat(p.fd, "d", 0700) == 0);
	CHECK(stat(old, &st) == 0 && (st.st_mode & 07777) == 0700);
	place_free(&p);
	CHECK_U64(count_entries(old), 0);
	CHECK(stat(old, &st) == 0 && (st.st_mode & 07777) == 0750);
}

static void a_place_that_is_finished_has_its_name(void)
{
	CLEANUP_TMPDIR char *tmp = tmpdir_make();
	CLEANUP_FREE char *to = xasprintf("%s/new/", tmp);
	struct place p = PLACE_NONE;
	struct error *err = NULL;

	for (int refuse = 0; refuse < 2; refuse++) {
		hidden_dir_test_refuse_rename(refuse);
		CHECK(place_open(&p, to, &err) == 0);
		CHECK(mkdirat(p.fd, "d", 0700) == 0);
		CHECK(place_finish(&p, &err) == 0);
		place_free(&p);
		CHECK(exists(to, "d"));
		CHECK_U64(count_entries(tmp), 1);
		CHECK(place_open(&p, to, &err) < 0 && err && strstr(err->msg, "not empty"));
		error_free(err);
		err = NULL;
		place_free(&p);
		CHECK(exists(to, "d"));
		tmpdir_remove(to);
	}
	hidden_dir_test_refuse_rename(false);
}

/* Somebody else makes the directory meanwhile. */
static void a_place_never_replaces_what_came_meanwhile(void)
{
	for (int refuse = 0; refuse < 2; refuse++) {
		CLEANUP_TMPDIR char *tmp = tmpdir_make();
		CLEANUP_FREE char *to = xasprintf("%s/new", tmp);
		CLEANUP_ERROR struct error *err = NULL;
		struct place p = PLACE_NONE;

		hidden_dir_test_refuse_rename(refuse);
		CHECK(place_open(&p, to, &err) == 0);
		make_dir(tmp, "new");
		make_dir(tmp, "new/theirs");
		CHECK(place_finish(&p, &err) < 0);
		place_free(&p);
		CHECK_U64(count_entries(tmp), 1);
		CHECK(exists(to, "theirs"));
	}
	hidden_dir_test_refuse_rename(false);
}

int main(void)
{
	RUN(a_symlink_is_no_directory_to_go_down_into);
	RUN(no_symlink_is_followed_on_the_way_to_a_first_name);
	RUN(deep_directories_are_found_again_on_the_way_up);
	RUN(a_directory_that_was_moved_away_is_noticed);
	RUN(remove_tree_removes_all_and_follows_nothing);
	RUN(a_place_that_is_not_finished_leaves_nothing);
	RUN(a_place_that_is_finished_has_its_name);
	RUN(a_place_never_replaces_what_came_meanwhile);
	return tap_done();
}
