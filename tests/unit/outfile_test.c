// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/outfile.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

/* Each behaviour is looked at twice: with O_TMPFILE, and as without it. */
static void both_ways(void (*test)(const char *dir))
{
	for (int force = 0; force < 2; force++) {
		CLEANUP_TMPDIR char *dir = tmpdir_make();

		outfile_test_force_names(force);
		test(dir);
		outfile_test_force_names(false);
	}
}

static struct outfile *make(const char *dir, const char *text)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct outfile *o = outfile_new(dir, &err);

	if (!CHECK(o != NULL))
		exit(99);
	CHECK(outfile_pwrite(o, text, strlen(text), 0, &err) == 0);
	return o;
}

static void check_file(const char *dir, const char *name, const char *want)
{
	CLEANUP_FREE char *path = xasprintf("%s/%s", dir, name);
	CLEANUP_FREE char *text = read_file(path);

	CHECK_STR(text, want);
}

static size_t visible(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	size_t n = 0;

	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void unpublished(const char *dir)
{
	struct outfile *o = make(dir, "half");

	CHECK_U64(visible(dir), 0);
	outfile_free(o);
	CHECK_U64(count_entries(dir), 0);
}

static void nothing_remains_of_a_file_that_was_not_published(void)
{
	both_ways(unpublished);
	outfile_free(NULL);
}

static void published(const char *dir)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct outfile *o = make(dir, "whole");

	CHECK(outfile_pwrite(o, "WH", 2, 0, &err) == 0);
	CHECK(outfile_publish(o, dir, "name", false, &err) == 0);
	outfile_free(o);
	check_file(dir, "name", "WHole");
	CHECK_U64(count_entries(dir), 1);
}

static void a_published_file_stays_and_is_alone(void)
{
	both_ways(published);
}

static void existing(const char *dir)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct outfile *a = make(dir, "first"), *b = make(dir, "second"), *c = make(dir, "third");

	CHECK(outfile_publish(a, dir, "name", false, &err) == 0);
	CHECK(outfile_publish(b, dir, "name", false, &err) == 0);
	outfile_free(b);
	check_file(dir, "name", "first");
	CHECK(outfile_publish(c, dir, "name", true, &err) == 0);
	check_file(dir, "name", "third");
	outfile_free(a);
	outfile_free(c);
	check_file(dir, "name", "third");
	CHECK_U64(count_entries(dir), 1);
}

static void an_existing_name_is_kept_or_replaced_as_asked(void)
{
	both_ways(existing);
}

static void masked(const char *dir)
{
	CLEANUP_FREE char *path = xasprintf("%s/name", dir);
	CLEANUP_ERROR struct error *err = NULL;
	mode_t old = umask(027);
	struct outfile *o = make(dir, "x");
	struct stat st;

	umask(old);
	CHECK(outfile_publish(o, dir, "name", false, &err) == 0);
	outfile_free(o);
	CHECK(stat(path, &st) == 0);
	CHECK_U64(st.st_mode & 0777, 0640);
}

static void the_mode_follows_the_umask(void)
{
	both_ways(masked);
}

static void missing_directory(const char *dir)
{
	CLEANUP_FREE char *none = xasprintf("%s/none", dir);
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(outfile_new(none, &err) == NULL);
	CHECK(err && err->code == ENOENT && strstr(err->msg, none));
}

static void a_missing_directory_is_named(void)
{
	both_ways(missing_directory);
}

static void leave_hidden(const char *dir)
{
	pid_t pid = fork();

	if (pid == 0) {
		make(dir, "lost");
		raise(SIGKILL);
	}
	waitpid(pid, NULL, 0);
}

static void what_killed_processes_left_is_swept_but_nothing_else(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *other = xasprintf("%s/.erofs-convert-x.tmp", dir);
	CLEANUP_FREE char *link = xasprintf("%s/.erofs-convert-abcdef.tmp", dir);
	struct outfile *live;

	write_file(other, "", 0);
	CHECK(symlink(other, link) == 0);
	outfile_test_force_names(true);
	leave_hidden(dir);
	live = make(dir, "live");
	CHECK_U64(count_entries(dir), 4);
	outfile_sweep(dir);
	CHECK_U64(count_entries(dir), 3);
	outfile_free(live);
	outfile_test_force_names(false);
	CHECK_U64(count_entries(dir), 2);
	outfile_sweep("/nonexistent");
}

/* One process sweeps without pause, others make files: none may be lost. */
static void a_sweeper_never_takes_a_living_processs_file(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	pid_t sweeper;
	int lost = 0;

	outfile_test_force_names(true);
	sweeper = fork();
	if (sweeper == 0)
		for (;;)
			outfile_sweep(dir);
	for (int i = 0; i < 2000; i++) {
		CLEANUP_ERROR struct error *err = NULL;
		CLEANUP_FREE char *path = xasprintf("%s/name", dir);
		struct outfile *o = make(dir, "x");

		if (outfile_publish(o, dir, "name", false, &err) < 0 || unlink(path) < 0)
			lost++;
		outfile_free(o);
	}
	kill(sweeper, SIGKILL);
	waitpid(sweeper, NULL, 0);
	outfile_test_force_names(false);
	CHECK_U64(lost, 0);
}

static void a_full_filesystem_is_named(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct rlimit old, none = { 0, 0 };
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	struct outfile *o = make(dir, "");

	/* The same path as ENOSPC's: a limit on file size stands in for the full disk. */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	none.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &none);
	CHECK(outfile_pwrite(o, "x", 1, 0, &err) < 0);
	setrlimit(RLIMIT_FSIZE, &old);
	CHECK(err && err->code == EFBIG && strstr(err->msg, dir));
	outfile_free(o);
}

int main(void)
{
	RUN(nothing_remains_of_a_file_that_was_not_published);
	RUN(a_published_file_stays_and_is_alone);
	RUN(an_existing_name_is_kept_or_replaced_as_asked);
	RUN(the_mode_follows_the_umask);
	RUN(a_missing_directory_is_named);
	RUN(what_killed_processes_left_is_swept_but_nothing_else);
	RUN(a_sweeper_never_takes_a_living_processs_file);
	RUN(a_full_filesystem_is_named);
	return tap_done();
}
