// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "cmd/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"

enum { LOOK_EVERY = 200 }; /* milliseconds: for a signal that came just before poll() */

/* A signal to us alone is meant for both. Twice would kill it before it has cleaned up. */
static ssize_t wait_for_byte(int fd, pid_t child, uint8_t *byte)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	bool told = false;
	ssize_t n;

	while (poll(&p, 1, LOOK_EVERY) <= 0)
		if (interrupt_pending() && !told)
			told = kill(child, SIGTERM) == 0;
	do
		n = read(fd, byte, 1);
	while (n < 0 && errno == EINTR);
	return n;
}

/* It ended without a word to us; what it has said, it said on stderr. */
static int status_of(pid_t child)
{
	int how;

	while (waitpid(child, &how, 0) < 0)
		if (errno != EINTR)
			return CMD_FAILED;
	if (WIFEXITED(how))
		return WEXITSTATUS(how);
	interrupt_die();
	log_error("the process that serves the mount was killed by signal %d", WTERMSIG(how));
	return CMD_FAILED;
}

bool daemon_fork(struct daemon *d, int *status)
{
	int pipe_fds[2];
	uint8_t byte;
	pid_t child;

	*d = (struct daemon){ .ready_fd = -1 };
	if (pipe2(pipe_fds, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		log_error("cannot start a process: no resources are left");
		*status = CMD_FAILED;
		return true;
	}
	if (!child) {
		/* what our caller left open, such as a lock's file, is not ours to keep */
		d->ready_fd = dup2(pipe_fds[1], 3) < 0 ? pipe_fds[1] : 3;
		fcntl(d->ready_fd, F_SETFD, FD_CLOEXEC);
		close_range((unsigned)d->ready_fd + 1, ~0U, 0);
		signal(SIGPIPE, SIG_IGN);
		return false;
	}
	close(pipe_fds[1]);
	*status = wait_for_byte(pipe_fds[0], child, &byte) == 1 ? byte : status_of(child);
	return true;
}

int daemon_ready(struct daemon *d, int status)
{
	uint8_t byte = (uint8_t)status;
	int null;
	ssize_t n;

	if (d->ready_fd < 0)
		return 0;
	setsid();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (chdir("/") < 0 || null < 0)
		return -1;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	close(null);
	n = write(d->ready_fd, &byte, 1);
	close(d->ready_fd);
	d->ready_fd = -1;
	return n == 1 ? 0 : -1;
}
