// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "cmd/private_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/remove_tree.h"
#include "lib/base/thread.h"
#include "lib/serve/control/control_client.h"
#include "lib/serve/control/listen.h"
#include "lib/serve/control/places.h"
#include "lib/serve/holder/handover.h"

enum { LOOK_MS = 1, END_MS = 30000, SOON_MS = 5000, ARGS_MAX = 16 };

/* ---- what it says ---- */

static void keep_end(struct private_daemon *d, const char *bytes, size_t n)
{
	size_t drop = d->n_said + n > sizeof(d->said) ? d->n_said + n - sizeof(d->said) : 0;

	if (drop > d->n_said) {
		bytes += n - sizeof(d->said);
		n = sizeof(d->said);
		drop = d->n_said;
	}
	memmove(d->said, d->said + drop, d->n_said - drop);
	d->n_said -= drop;
	memcpy(d->said + d->n_said, bytes, n);
	d->n_said += n;
}

/* A pipe that nobody reads would stop it. With --debug what it says is what is wanted. */
static void *read_errors(void *arg)
{
	struct private_daemon *d = arg;
	char bytes[4096];

	for (;;) {
		struct pollfd p[] = { { .fd = d->errors, .events = POLLIN },
			{ .fd = d->stop, .events = POLLIN } };
		ssize_t n;

		if (poll(p, 2, -1) < 0)
			continue;
		if (!p[0].revents) /* all that was said by then has been read */
			return NULL;
		n = read(d->errors, bytes, sizeof(bytes));
		if (n == 0 || (n < 0 && errno != EINTR))
			return NULL;
		if (n < 0)
			continue;
		keep_end(d, bytes, (size_t)n);
		if (cmd_common.debug)
			fwrite(bytes, 1, (size_t)n, stderr);
	}
}

static int start_reader(struct private_daemon *d, struct error **err)
{
	d->stop = eventfd(0, EFD_CLOEXEC);
	if (d->stop < 0)
		return error_set(err, errno, "cannot make an eventfd");
	if (thread_start(&d->reader, read_errors, d, err) == 0)
		return 0;
	close(d->stop);
	return -1;
}

static void end_reader(struct private_daemon *d)
{
	eventfd_write(d->stop, 1);
	pthread_join(d->reader, NULL);
	close(d->stop);
	close(d->errors);
	d->errors = -1;
}

/* Its last error, without what stands before it on each line. */
static int own_words(struct private_daemon *d, struct error **err)
{
	static const char mark[] = "error: ";
	CLEANUP_FREE char *said = NULL;
	char *line = NULL;

	end_reader(d);
	said = xstrndup(d->said, d->n_said);
	for (char *s = said; (s = strstr(s, mark)); s += strlen(mark))
		line = s + strlen(mark);
	if (!line)
		return error_set(err, 0, "it has ended without a word");
	line[strcspn(line, "\n")] = '\0';
	return error_set(err, 0, "%s", line);
}

/* ---- start ---- */

static void build_args(char **argv, const struct private_daemon *d, const struct private_options *o,
	char *limit, char *store)
{
	size_t n = 0;

	argv[n++] = (char *)"erofs-convert";
	argv[n++] = (char *)"serve";
	argv[n++] = (char *)"--private";
	argv[n++] = d->dir;
	argv[n++] = (char *)"--socket";
	argv[n++] = d->socket;
	if (store) {
		argv[n++] = (char *)"--store";
		argv[n++] = store;
	}
	if (o->store_limit) {
		argv[n++] = (char *)"--store-limit";
		argv[n++] = limit;
	}
	argv[n++] = (char *)(cmd_common.debug ? "--debug" : "--quiet");
	argv[n] = NULL;
}

/* As a service manager hands over a socket: sd_listen_fds(3). */
static int hand_over_socket(int listening)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (listening == HANDOVER_FIRST ? fcntl(listening, F_SETFD, 0) < 0
					: dup2(listening, HANDOVER_FIRST) < 0)
		return -1;
	return setenv("LISTEN_FDS", "1", 1) < 0 || setenv("LISTEN_PID", pid, 1) < 0 ||
			       setenv("LISTEN_FDNAMES", KEEP_SOCKET, 1) < 0
		       ? -1
		       : 0;
}

static void become(char **argv, int errors, int listening) __attribute__((noreturn));

/* The holder at once: `serve` would only look at its options, and become it. */
static void become(char **argv, int errors, int listening)
{
	CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct error *err = NULL;
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_IGN); /* its stderr ends with us */
	setsid();
	if (null >= 0 && dup2(null, 0) >= 0 && dup2(null, 1) >= 0 && dup2(errors, 2) >= 0 &&
		chdir("/") == 0 && hand_over_socket(listening) == 0) {
		close_range(HANDOVER_FIRST + 1, ~0U, 0);
		keep_exec_holder(argv, &err);
		cmd_fail(err);
	}
	_exit(127);
}

/* It runs in "/". */
static char *absolute(const char *path)
{
	CLEANUP_FREE char *here = path && *path != '/' ? getcwd(NULL, 0) : NULL;

	if (!path)
		return NULL;
	return here ? xasprintf("%s/%s", here, path) : xstrdup(path);
}

/* A process with one end of a pipe as its stderr, and `listening`. */
static int spawn(struct private_daemon *d, const struct private_options *o, int listening,
	struct error **err)
{
	CLEANUP_FREE char *limit = xasprintf("%" PRIu64, o->store_limit);
	CLEANUP_FREE char *store = absolute(o->store);
	CLEANUP_FD int theirs = -1;
	char *argv[ARGS_MAX];
	int pipe_fds[2];

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_set(err, errno, "cannot make a pipe");
	theirs = pipe_fds[1];
	d->errors = pipe_fds[0];
	build_args(argv, d, o, limit, store);
	d->pid = fork();
	if (d->pid == 0)
		become(argv, theirs, listening);
	if (d->pid < 0)
		return error_set(err, errno, "cannot start a process");
	return 0;
}

static bool has_ended(struct private_daemon *d)
{
	if (d->pid && waitpid(d->pid, NULL, WNOHANG) != 0)
		d->pid = 0;
	return !d->pid;
}

static void wait_for_end(struct private_daemon *d, int patience)
{
	for (int ms = 0; ms < patience && !has_ended(d); ms += LOOK_MS)
		poll(NULL, 0, LOOK_MS);
}

/* What is asked waits in the socket until it begins to look, or has ended. */
static int wait_until_it_answers(struct private_daemon *d, struct error **err)
{
	CLEANUP_ERROR struct error *e = NULL;
	int fd = control_connect(d->socket, &e);
	json_auto_t *answer = fd >= 0 ? control_ask(fd, CONTROL_PING, &e) : NULL;

	if (answer)
		return 0;
	if (!interrupt_pending())
		wait_for_end(d, SOON_MS);
	if (has_ended(d) && !interrupt_pending())
		return own_words(d, err);
	*err = take_ptr(e);
	return -1;
}

static void remove_dir(const char *dir)
{
	CLEANUP_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		remove_tree_below(fd);
	rmdir(dir);
}

static void end_it(struct private_daemon *d)
{
	if (d->pid > 0)
		kill(d->pid, SIGTERM);
	if (d->pid > 0)
		wait_for_end(d, END_MS);
	if (d->dir)
		remove_dir(d->dir);
}

static void release(struct private_daemon *d)
{
	if (d->errors >= 0)
		end_reader(d);
	free(d->dir);
	free(d->socket);
}

/* We listen before it does, so that our request is there when it begins to look. */
static int start(struct private_daemon *d, const struct private_options *o, struct error **err)
{
	CLEANUP_FD int listening = -1;

	d->dir = places_make_private(err);
	if (!d->dir)
		return -1;
	d->socket = xasprintf("%s/socket", d->dir);
	listening = listen_at(d->socket, 0600, err);
	if (listening < 0 || spawn(d, o, listening, err) < 0)
		return -1;
	/* what is asked of one that has died shall fail, and not wait at our descriptor */
	cleanup_fd_(&listening);
	if (start_reader(d, err) < 0) {
		cleanup_fd_(&d->errors);
		return -1;
	}
	return wait_until_it_answers(d, err) < 0 ? -1 : control_connect(d->socket, err);
}

int private_daemon_start(
	struct private_daemon *d, const struct private_options *o, struct error **err)
{
	int fd;

	*d = (struct private_daemon){ .errors = -1 };
	fd = start(d, o, err);
	if (fd >= 0)
		return fd;
	end_it(d);
	release(d);
	return error_wrap(err, "cannot start a daemon for the mount");
}

void private_daemon_leave(struct private_daemon *d, bool mounted)
{
	if (!mounted && interrupt_pending() && d->pid > 0)
		kill(d->pid, SIGTERM); /* it may wait for a server that says nothing */
	if (!mounted)
		wait_for_end(d, END_MS);
	if (!mounted && has_ended(d)) /* told to, it takes what is there for a mount's */
		remove_dir(d->dir);
	release(d);
}
