// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The worker's process: started, watched, started again. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/serve/holder/holder.h"

#define MS	    UINT64_C(1000000)
#define SHORT_LIFE  (10000 * MS)
#define BACKOFF_MIN (100 * MS)
/* One that cannot even begin is tried less often than one that served its readers for a while. */
#define BACKOFF_MAX	  (5000 * MS)
#define BACKOFF_MAX_READY (500 * MS)

static void set_oom(const char *text)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (*text && write(fd, text, strlen(text)) < 0)
			holder_say("cannot reset oom_score_adj: %s", strerror(errno));
		close(fd);
	}
}

/* $LISTEN_FDNAMES; add() has seen that they fit. */
static const char *join_names(const struct holder *h)
{
	static char text[sizeof("LISTEN_FDNAMES=") + HANDOVER_NAMES_MAX];
	char *at = text + sprintf(text, "LISTEN_FDNAMES=");

	for (unsigned i = 0; i < h->n_kept; i++)
		at += sprintf(at, "%s%s", i ? ":" : "", h->kept[i].name);
	return text;
}

/* In the child: its own copy of all of this. */
static void set_environment(struct holder *h, int socket)
{
	static char fds[32], pid[32], end[48];
	unsigned n = h->n_env;

	snprintf(fds, sizeof(fds), "LISTEN_FDS=%u", h->n_kept);
	snprintf(pid, sizeof(pid), "LISTEN_PID=%d", getpid());
	snprintf(end, sizeof(end), HANDOVER_HOLDER "=%d", socket);
	h->env[n++] = fds;
	h->env[n++] = pid;
	h->env[n++] = end;
	h->env[n++] = (char *)(uintptr_t)join_names(h);
	h->env[n] = NULL;
}

/* Numbers from 3 on are events', of which the child has no need; everything else is above base. */
__attribute__((noreturn)) static void become_worker(struct holder *h, int socket)
{
	int end = HANDOVER_FIRST + (int)h->n_kept;

	for (unsigned i = 0; i < h->n_kept; i++)
		if (dup2(h->kept[i].fd, HANDOVER_FIRST + (int)i) < 0)
			_exit(127);
	if (dup2(socket, end) < 0)
		_exit(127);
	set_environment(h, end);
	set_oom(h->oom_before);
	sigprocmask(SIG_SETMASK, &h->signals_before, NULL);
	/* events' descriptors are as who made the group wanted them, perhaps without close-on-exec
	 */
	close_range((unsigned)end + 1, ~0U, 0);
	execve(h->argv[0], h->argv, h->env);
	holder_say("cannot execute %s: %s", h->argv[0], strerror(errno));
	_exit(127);
}

static void start_later(struct holder *h, const char *what)
{
	holder_say("cannot start the worker: %s: %s", what, strerror(errno));
	h->start_at = holder_now() + 1000 * MS;
}

void worker_start(struct holder *h)
{
	int ends[2], pidfd;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		start_later(h, "socketpair");
		return;
	}
	h->socket = holder_raise(h, ends[0]);
	ends[1] = holder_raise(h, ends[1]);
	h->started = holder_now();
	atomic_store(&h->requests->beat, h->started);
	pid = fork();
	if (pid == 0)
		become_worker(h, ends[1]);
	close(ends[1]);
	pidfd = pid < 0 ? -1 : pidfd_open(pid, 0);
	if (pidfd < 0) {
		start_later(h, pid < 0 ? "fork" : "pidfd_open");
		if (pid > 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		close(h->socket);
		h->socket = -1;
		return;
	}
	h->pidfd = holder_raise(h, pidfd);
	h->child = pid;
	h->ready = h->bye = false;
}

/* $EROFS_CONVERT_ADOPT is "SOCKET:PIDFD". */
void worker_adopt(struct holder *h)
{
	const char *text = getenv(HANDOVER_ADOPT);
	int socket, pidfd;

	if (sscanf(text, "%d:%d", &socket, &pidfd) != 2 || fcntl(socket, F_GETFD) < 0 ||
		fcntl(pidfd, F_GETFD) < 0) {
		holder_say("the environment's " HANDOVER_ADOPT " makes no sense");
		exit(2);
	}
	h->socket = holder_raise(h, socket);
	h->pidfd = holder_raise(h, pidfd);
	h->started = holder_now();
	h->ready = h->ever_ready = true;
}

void worker_signal(struct holder *h, int signal)
{
	if (h->pidfd >= 0)
		pidfd_send_signal(h->pidfd, signal, NULL, 0);
}

/* 128 and the signal for one that was killed; -1: not a child, nobody tells us. */
static int reap(struct holder *h)
{
	int status;

	if (!h->child || waitpid(h->child, &status, 0) != h->child)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void set_backoff(struct holder *h, uint64_t now)
{
	uint64_t max = h->ready ? BACKOFF_MAX_READY : BACKOFF_MAX;

	h->start_at = now;
	if (now - h->started >= SHORT_LIFE) {
		h->backoff = 0;
		return;
	}
	if (h->backoff > max)
		h->backoff = max;
	h->start_at += h->backoff;
	h->backoff = h->backoff ? h->backoff * 2 : BACKOFF_MIN;
}

void worker_died(struct holder *h)
{
	int status = reap(h);

	if (h->socket >= 0)
		kept_receive(h); /* its last words */
	if (h->socket >= 0)
		close(h->socket);
	close(h->pidfd);
	h->socket = h->pidfd = -1;
	h->child = 0;
	if (h->stopping || h->bye)
		exit(status < 0 || status > 128 ? 0 : status);
	if (status == 0 || (status > 0 && status < 128 && !h->ever_ready))
		exit(status);
	held_forget_expired(h);
	set_backoff(h, holder_now());
	if (status > 128)
		holder_say("the worker died by signal %d; starting it again", status - 128);
	else
		holder_say("the worker died; starting it again");
}
