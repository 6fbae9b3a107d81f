// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/caller.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

enum { OTHER = 4711, OTHERS = 4712, THIRD = 4713 };

static void who_is_at_the_other_end_is_told(void)
{
	CLEANUP_CALLER struct caller c;
	struct error *err = NULL;
	int fds[2], n = getgroups(0, NULL);

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	CHECK(caller_of_socket(&c, fds[0], &err) == 0);
	CHECK_U64(c.pid, getpid());
	CHECK_U64(c.uid, geteuid());
	CHECK_U64(c.gid, getegid());
	CHECK_U64(c.n_groups, n);
	CHECK(caller_is_trusted(&c));
	close(fds[0]);
	close(fds[1]);
}

static void what_is_no_socket_is_nobody(void)
{
	CLEANUP_CALLER struct caller c;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FD int null = open("/dev/null", O_RDONLY);

	CHECK(caller_of_socket(&c, null, &err) == -1);
	CHECK(err != NULL);
}

static void for_this_user_nothing_changes(void)
{
	struct caller c = { .uid = geteuid(), .gid = OTHERS };
	struct error *err = NULL;
	int n = getgroups(0, NULL);

	CHECK(caller_enter(&c, &err) == 0);
	CHECK_U64(getgroups(0, NULL), n);
	caller_leave(&c);
}

static void a_copy_is_its_own(void)
{
	gid_t groups[] = { 1, 2 };
	const struct caller c = { .uid = OTHER, .groups = groups, .n_groups = 2 };
	CLEANUP_CALLER struct caller copy;

	caller_copy(&copy, &c);
	groups[1] = 3;
	CHECK_U64(copy.groups[1], 2);
	CHECK_U64(copy.uid, OTHER);
}

static void others_are_not_trusted(void)
{
	const struct caller root = { .uid = 0 };
	const struct caller other = { .uid = geteuid() + 1 };

	CHECK(caller_is_trusted(&root));
	CHECK(!caller_is_trusted(&other));
}

/* ---- as root ---- */

static char *dir;

/* 0, or errno. */
static int try_open(const char *name)
{
	CLEANUP_FREE char *path = xasprintf("%s/%s", dir, name);
	CLEANUP_FD int fd = open(path, O_RDONLY);

	return fd < 0 ? errno : 0;
}

static void put(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
	CLEANUP_FREE char *path = xasprintf("%s/%s", dir, name);

	write_file(path, "x", 1);
	CHECK(chown(path, uid, gid) == 0);
	CHECK(chmod(path, mode) == 0);
}

static void make_files(void)
{
	dir = tmpdir_make();
	CHECK(chmod(dir, 0755) == 0);
	put("root", 0, 0, 0600);
	put("other", OTHER, 0, 0600);
	put("group", 0, OTHERS, 0640);
	put("third", 0, THIRD, 0640);
}

static void drop_files(void)
{
	tmpdir_remove(dir);
	free(dir);
}

static gid_t third[] = { THIRD };
static const struct caller other = { .uid = OTHER, .gid = OTHERS, .groups = third, .n_groups = 1 };

static void files_are_opened_with_the_callers_rights(void)
{
	const struct caller alone = { .uid = OTHER, .gid = OTHER };
	struct error *err = NULL;

	make_files();
	CHECK(caller_enter(&other, &err) == 0);
	CHECK_U64(try_open("root"), EACCES);
	CHECK_U64(try_open("other"), 0);
	CHECK_U64(try_open("group"), 0);
	CHECK_U64(try_open("third"), 0);
	caller_leave(&other);
	CHECK_U64(try_open("root"), 0);
	CHECK(caller_enter(&alone, &err) == 0);
	CHECK_U64(try_open("group"), EACCES);
	CHECK_U64(try_open("third"), EACCES);
	caller_leave(&alone);
	drop_files();
}

static void own_groups_come_back(void)
{
	const gid_t mine[] = { 7, 9, THIRD };
	gid_t now[8];
	struct error *err = NULL;
	pid_t child = fork();
	int how;

	if (child == 0) {
		if (setgroups(3, mine) < 0 || caller_enter(&other, &err) < 0)
			_exit(1);
		caller_leave(&other);
		_exit(getgroups(8, now) == 3 && !memcmp(now, mine, sizeof(mine)) ? 0 : 2);
	}
	CHECK(waitpid(child, &how, 0) == child);
	CHECK_U64(how, 0);
}

static pthread_barrier_t turn;

static void *open_the_roots(void *arg)
{
	pthread_barrier_wait(&turn); /* the other thread has entered */
	*(int *)arg = try_open("root");
	pthread_barrier_wait(&turn);
	return NULL;
}

static void other_threads_keep_their_rights(void)
{
	struct error *err = NULL;
	pthread_t thread;
	int result = -1;

	make_files();
	pthread_barrier_init(&turn, NULL, 2);
	CHECK(pthread_create(&thread, NULL, open_the_roots, &result) == 0);
	CHECK(caller_enter(&other, &err) == 0);
	pthread_barrier_wait(&turn);
	pthread_barrier_wait(&turn);
	caller_leave(&other);
	pthread_join(thread, NULL);
	CHECK_U64(result, 0);
	drop_files();
}

static void without_root_it_is_refused(void)
{
	pid_t child = fork();
	int how;

	if (child == 0) {
		CLEANUP_ERROR struct error *err = NULL;
		const struct caller root = { .uid = 0 };

		if (setgroups(0, NULL) < 0 || setgid(OTHERS) < 0 || setuid(OTHER) < 0)
			_exit(1);
		_exit(caller_enter(&root, &err) == -1 && err->code == EPERM ? 0 : 2);
	}
	CHECK(waitpid(child, &how, 0) == child);
	CHECK_U64(how, 0);
}

int main(void)
{
	RUN(who_is_at_the_other_end_is_told);
	RUN(what_is_no_socket_is_nobody);
	RUN(for_this_user_nothing_changes);
	RUN(a_copy_is_its_own);
	RUN(others_are_not_trusted);
	RUN_IF(geteuid() == 0, files_are_opened_with_the_callers_rights, "needs root");
	RUN_IF(geteuid() == 0, own_groups_come_back, "needs root");
	RUN_IF(geteuid() == 0, other_threads_keep_their_rights, "needs root");
	RUN_IF(geteuid() == 0, without_root_it_is_refused, "needs root");
	return tap_done();
}
