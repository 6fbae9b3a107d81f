// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/spawn_as.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/mem.h"

#define USUAL_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum {
	PASSWD_MAX = 16384,
	ENV_MAX = 4,
	ALARM_LATER = 5, /* seconds: who waits has given up by then */
};

struct environment {
	char *lines[ENV_MAX + 1];
};

static void environment_free(struct environment *e)
{
	for (size_t i = 0; e->lines[i]; i++)
		free(e->lines[i]);
}

/* Nothing of the daemon's but PATH; where the user is at home the system may know. */
static void environment_of(struct environment *e, uid_t uid)
{
	CLEANUP_FREE char *buffer = xmalloc(PASSWD_MAX);
	const char *path = getenv("PATH");
	struct passwd user, *found = NULL;

	*e = (struct environment){ { xasprintf("PATH=%s", path && *path ? path : USUAL_PATH) } };
	if (getpwuid_r(uid, &user, buffer, PASSWD_MAX, &found) != 0 || !found)
		return;
	e->lines[1] = xasprintf("HOME=%s", user.pw_dir);
	e->lines[2] = xasprintf("USER=%s", user.pw_name);
	e->lines[3] = xasprintf("LOGNAME=%s", user.pw_name);
}

/*
 * In the new process of one that has threads: system calls only. libc's own setuid() would tell
 * threads that are not there.
 */
static int become(const struct caller *c)
{
	if (c->uid == geteuid())
		return 0;
	if (syscall(SYS_setgroups, c->n_groups, c->groups) < 0 ||
		syscall(SYS_setresgid, c->gid, c->gid, c->gid) < 0 ||
		syscall(SYS_setresuid, c->uid, c->uid, c->uid) < 0)
		return -1;
	return 0;
}

/*
 * It must not outlive who waits for it. To become somebody would undo that, so it comes after. It
 * is the end of the thread that counts: that one waits. A parent without CAP_KILL, as the unit has
 * it, ends nobody else's process so; then the alarm does, later.
 */
static int die_with(pid_t parent, unsigned seconds)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -1;
	alarm(seconds + ALARM_LATER);
	if (getppid() == parent)
		return 0;
	errno = ESRCH;
	return -1;
}

/* A caller's gets nothing of the daemon's. */
static int leave_behind(const struct caller *c)
{
	if (chdir("/") < 0 || syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return -1;
	return become(c);
}

static int prepare(const struct spawn_request *q, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGALRM, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 0; i < 3; i++)
		if (dup2(q->fds[i], i) < 0)
			return -1;
	if (setpgid(0, 0) < 0 || (q->caller && leave_behind(q->caller) < 0))
		return -1;
	return die_with(parent, q->seconds);
}

static void run(const struct spawn_request *q, char *const env[], pid_t parent, int report)
	__attribute__((noreturn));

static void run(const struct spawn_request *q, char *const env[], pid_t parent, int report)
{
	int code;

	if (q->caller)
		environ = (char **)env;
	if (prepare(q, parent) == 0)
		execvp(q->argv[0], q->argv);
	code = errno;
	if (write(report, &code, sizeof(code)) < 0)
		_exit(126);
	_exit(127);
}

/* 0 when it runs: then the pipe has been closed by exec. */
static int outcome(int report)
{
	int code = 0;
	ssize_t n;

	do
		n = read(report, &code, sizeof(code));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(code) ? code : 0;
}

int spawn_as(pid_t *pid, const struct spawn_request *q)
{
	CLEANUP(environment_free) struct environment env = { { NULL } };
	CLEANUP_FD int report = -1, told = -1;
	pid_t parent = getpid();
	int pipe_fds[2], code;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return errno;
	report = pipe_fds[1];
	told = pipe_fds[0];
	if (q->caller)
		environment_of(&env, q->caller->uid);
	*pid = fork();
	if (*pid < 0)
		return errno;
	if (*pid == 0)
		run(q, env.lines, parent, report);
	setpgid(*pid, *pid); /* whoever is first */
	close(take_fd(&report));
	code = outcome(told);
	if (code)
		while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
			;
	return code;
}
