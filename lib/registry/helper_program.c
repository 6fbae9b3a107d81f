// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/helper_program.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/registry/secret.h"
#include "lib/registry/spawn_as.h"

#define NONE_SAID    "credentials not found" /* on standard output, with status 1 */
#define TOKEN_USER   "<token>" /* then the secret is an identity token */
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

enum { LOOK_MS = 100 }; /* for an interrupt, and whether it has ended */

struct helper {
	char *program;
	pid_t pid; /* and its process group; 0: has been waited for */
	int out;
	int64_t deadline; /* monotonic, in milliseconds */
	unsigned seconds;
	const struct caller *caller; /* or NULL */
	struct secret_buffer said;
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/*
 * One that runs as somebody else, root may not end without CAP_KILL, but as that user: this thread
 * alone, and without letting him send signals to it.
 */
static void end_group(const struct helper *h)
{
	uid_t own = geteuid();

	if (kill(-h->pid, SIGKILL) == 0 || errno != EPERM || !h->caller)
		return;
	if (syscall(SYS_setresuid, -1, h->caller->uid, -1) < 0)
		return;
	kill(-h->pid, SIGKILL);
	if (syscall(SYS_setresuid, -1, own, -1) < 0)
		abort(); /* nobody may go on with another's rights */
}

static void helper_end(struct helper *h)
{
	if (h->pid > 0) {
		end_group(h);
		while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	cleanup_fd_(&h->out);
	cleanup_secret_buffer_(&h->said);
	free(h->program);
}

/* ---- start ---- */

/* A file, not a pipe: a program that does not read it cannot block us, or end us by SIGPIPE. */
static int input_of(const char *server, struct error **err)
{
	CLEANUP_FD int fd = memfd_create("server", MFD_CLOEXEC);
	ssize_t len = (ssize_t)strlen(server);

	if (fd < 0 || pwrite(fd, server, (size_t)len, 0) != len)
		return error_set(err, errno, "cannot make its input");
	return take_fd(&fd);
}

/* A process group of its own, so that what it starts ends with it. */
static int spawn(struct helper *h, int in, int out)
{
	char *argv[] = { h->program, (char[]){ "get" }, NULL };
	CLEANUP_FD int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	const struct spawn_request q = { .caller = h->caller,
		.argv = argv,
		.fds = { in, out, log_enabled(LOG_DEBUG) ? 2 : null },
		.seconds = h->seconds };
	int rc = null < 0 ? errno : spawn_as(&h->pid, &q);

	if (rc)
		h->pid = 0;
	return rc;
}

static int start(struct helper *h, const char *server, struct error **err)
{
	CLEANUP_FD int in = input_of(server, err), out = -1;
	int pipe_fds[2], rc;

	if (in < 0)
		return -1;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_set(err, errno, "cannot make a pipe");
	h->out = pipe_fds[0];
	out = pipe_fds[1];
	h->deadline = now_ms() + h->seconds * INT64_C(1000);
	rc = spawn(h, in, out);
	if (rc == 0)
		return 0;
	error_set(err, rc, "cannot run this program");
	return error_hint(err, "%s",
		rc == ENOENT ? "install it to a directory of PATH, or use --authfile or --no-creds"
			     : "see whether it runs by hand, or use --authfile or --no-creds");
}

/* ---- talk ---- */

/* Time to look again, or to give up. */
static int check_time(const struct helper *h, struct error **err)
{
	if (interrupt_pending())
		return error_set(err, EINTR, "stopped");
	if (now_ms() < h->deadline)
		return 0;
	error_set(err, 0, "no answer within %u s", h->seconds);
	return error_hint(err, "see whether it waits for something: run it by hand, with \"get\"");
}

/* 1 at the end of its output. */
static int read_some(struct helper *h, struct error **err)
{
	struct secret_buffer *b = &h->said;
	ssize_t n = read(h->out, b->bytes + b->len, HELPER_OUTPUT_MAX + 1 - b->len);

	if (n < 0 && errno != EINTR)
		return error_set(err, errno, "cannot read its output");
	if (n <= 0)
		return n == 0;
	b->len += (size_t)n;
	if (b->len > HELPER_OUTPUT_MAX)
		return error_set(err, 0, "it prints more than 64 KiB");
	return 0;
}

static int read_output(struct helper *h, struct error **err)
{
	h->said.bytes = xmalloc(HELPER_OUTPUT_MAX + 1);
	for (;;) {
		struct pollfd p = { .fd = h->out, .events = POLLIN };
		int rc;

		if (check_time(h, err) < 0)
			return -1;
		if (poll(&p, 1, LOOK_MS) <= 0)
			continue;
		rc = read_some(h, err);
		if (rc)
			return rc < 0 ? -1 : 0;
	}
}

static int wait_for_end(struct helper *h, int *status, struct error **err)
{
	for (int ms = 1;; ms = ms < LOOK_MS ? 2 * ms : LOOK_MS) {
		pid_t pid = waitpid(h->pid, status, WNOHANG);

		if (pid == h->pid) {
			h->pid = 0;
			return 0;
		}
		if (pid < 0 && errno != EINTR)
			return error_set(err, errno, "cannot wait for its end");
		if (check_time(h, err) < 0)
			return -1;
		poll(NULL, 0, ms);
	}
}

/* ---- the answer ---- */

static void cleanup_answer_(json_t **answer)
{
	json_t *v = json_object_get(*answer, "Secret");

	if (json_is_string(v))
		explicit_bzero((char *)json_string_value(v), json_string_length(v));
	json_decref(*answer);
}

static int take_answer(struct credentials *c, const struct helper *h, struct error **err)
{
	CLEANUP(cleanup_answer_)
	json_t *answer = json_loadb(h->said.bytes, h->said.len, 0, NULL);
	const char *user = json_string_value(json_object_get(answer, "Username"));
	const char *secret = json_string_value(json_object_get(answer, "Secret"));

	if (!user || !secret)
		return error_set(err, 0, "its answer is not JSON with \"Username\" and \"Secret\"");
	if (!*user && !*secret)
		return 0;
	if (strcmp(user, TOKEN_USER) == 0) {
		c->identity_token = xstrdup(secret);
	} else {
		c->user = xstrdup(user);
		c->password = xstrdup(secret);
	}
	c->from = xstrdup(h->program);
	return 1;
}

static int judge(struct credentials *c, const struct helper *h, int status, struct error **err)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return take_answer(c, h, err);
	if (memmem(h->said.bytes, h->said.len, NONE_SAID, strlen(NONE_SAID)))
		return 0;
	if (WIFSIGNALED(status))
		error_set(err, 0, "it was ended by signal %d", WTERMSIG(status));
	else
		error_set(err, 0, "it failed with exit status %d", WEXITSTATUS(status));
	return error_hint(err, "see what it says: run it by hand, with \"get\"");
}

static int ask(struct credentials *c, struct helper *h, const char *server, struct error **err)
{
	int status;

	if (start(h, server, err) < 0 || read_output(h, err) < 0 ||
		wait_for_end(h, &status, err) < 0)
		return -1;
	return judge(c, h, status, err);
}

int helper_program_get(struct credentials *c, const struct helper_query *q, struct error **err)
{
	CLEANUP(helper_end)
	struct helper h = { .out = -1, .seconds = q->seconds, .caller = q->caller };
	const char *name = q->name;
	int rc;

	*c = (struct credentials){ 0 };
	if (!*name || name[strspn(name, NAME_LETTERS)])
		return error_set(err, 0,
			"the name of a credential helper has a character other than letters, "
			"digits, dot, dash and underscore");
	h.program = xasprintf("docker-credential-%s", name);
	rc = ask(c, &h, q->server, err);
	return rc < 0 ? error_wrap(err, "%s", h.program) : rc;
}
