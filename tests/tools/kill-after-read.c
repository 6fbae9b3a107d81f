// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Kills a holder at the worst instant: the kernel has given it an event of the fanotify group, and
 * it has not seen that yet. For a daemon with $EROFS_CONVERT_HOLDER_PROGRAM: each holder is
 * traced (ptrace(2)) from its start on, so that not one event escapes.
 *
 *	kill-after-read probe            can it be done here? 0: yes, 77: no
 *	kill-after-read -- ARGUMENT...   becomes $KILL_AFTER_READ_PROGRAM, with these
 *
 * $KILL_AFTER_READ: a file; each of its bytes is one kill, and goes with it.
 * $KILL_AFTER_READ_CHILDREN: if set, the holder's children die just before it.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/serve/holder/event.h"

__attribute__((noreturn)) static void die(int status, const char *what)
{
	fprintf(stderr, "kill-after-read: %s: %s\n", what, strerror(errno));
	exit(status);
}

/* Until it stops; ends with it. */
static int wait_for_stop(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			die(1, "waitpid");
	if (!WIFSTOPPED(status))
		exit(0);
	return status;
}

static void begin(pid_t pid)
{
	if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACESYSGOOD) < 0 ||
		ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
		die(77, "it cannot be traced");
}

/* Others may read as many bytes: a sanitizer's start reads what fits of /proc/self/maps. */
static bool is_group(pid_t pid, uint64_t fd)
{
	static const char group[] = "anon_inode:[fanotify]";
	char path[64], target[sizeof(group)];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, (int)fd);
	return readlink(path, target, sizeof(target)) == sizeof(group) - 1 &&
	       memcmp(target, group, sizeof(group) - 1) == 0;
}

/* Has it just got an event? *reads: it is in a read of one. */
static bool has_event(pid_t pid, bool *reads)
{
	struct __ptrace_syscall_info info = { .op = PTRACE_SYSCALL_INFO_NONE };

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0)
		die(77, "it cannot be asked for its system call");
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		*reads = info.entry.nr == SYS_read && info.entry.args[2] == EVENT_SIZE &&
			 is_group(pid, info.entry.args[0]);
	return info.op == PTRACE_SYSCALL_INFO_EXIT && *reads && info.exit.rval == EVENT_SIZE;
}

/* One of the bytes. */
static bool take_permit(void)
{
	const char *path = getenv("KILL_AFTER_READ");
	struct stat st;

	return path && stat(path, &st) == 0 && st.st_size > 0 &&
	       truncate(path, st.st_size - 1) == 0;
}

static void kill_children(pid_t pid)
{
	char path[64];
	FILE *f;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	f = fopen(path, "re");
	while (f && fscanf(f, "%d", &child) == 1)
		kill(child, SIGKILL);
	if (f)
		fclose(f);
}

static void go_on(pid_t pid, int status, bool *reads)
{
	int number = WSTOPSIG(status);

	if (number == (SIGTRAP | 0x80)) {
		if (has_event(pid, reads) && take_permit()) {
			if (getenv("KILL_AFTER_READ_CHILDREN"))
				kill_children(pid);
			kill(pid, SIGKILL);
		}
		number = 0;
	} else if (status >> 16) {
		number = 0; /* a stop of ours, or a group's */
	}
	if (ptrace(PTRACE_SYSCALL, pid, NULL, number) < 0 && errno != ESRCH)
		die(1, "it cannot go on");
}

/* `ready` is told once it can go on, with whether it can be traced. */
__attribute__((noreturn)) static void trace(pid_t pid, int ready)
{
	bool reads = false;

	begin(pid);
	go_on(pid, wait_for_stop(pid), &reads);
	if (write(ready, "", 1) != 1)
		die(1, "nobody waits for that");
	close_range(3, ~0U, 0); /* they are the holder's */
	for (;;)
		go_on(pid, wait_for_stop(pid), &reads);
}

/* By a process that is no child of ours: we are to become another program. False: it cannot be. */
static bool be_traced(void)
{
	pid_t pid = getpid(), between;
	int ends[2];
	char byte;
	bool is;

	if (pipe2(ends, O_CLOEXEC) < 0)
		die(1, "pipe");
	between = fork();
	if (between == 0) {
		if (fork() == 0)
			trace(pid, ends[1]);
		_exit(0);
	}
	close(ends[1]);
	waitpid(between, NULL, 0);
	is = read(ends[0], &byte, 1) == 1;
	close(ends[0]);
	return is;
}

int main(int argc, char **argv)
{
	const char *program = getenv("KILL_AFTER_READ_PROGRAM");

	if (argc == 2 && strcmp(argv[1], "probe") == 0)
		return be_traced() ? 0 : 77;
	if (argc < 3 || strcmp(argv[1], "--") != 0 || !program) {
		fputs("usage: kill-after-read probe | kill-after-read -- ARGUMENT...\n"
		      "Kills holders with an event in their hands; its source says how.\n",
			stderr);
		return 2;
	}
	be_traced();
	execv(program, argv);
	die(1, program);
}
