// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/ask_password.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/registry/secret.h"

enum { PASSWORD_MAX = 4095, LOOK_MS = 200 };

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
enum { N_SIGNALS = sizeof(signals) / sizeof(*signals) };

/* For the signal handler; one question at a time. */
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static struct {
	int fd;
	struct termios before;
	struct sigaction old[N_SIGNALS];
} terminal;

static void restore(void)
{
	tcsetattr(terminal.fd, TCSAFLUSH, &terminal.before);
	for (size_t i = 0; i < N_SIGNALS; i++)
		sigaction(signals[i], &terminal.old[i], NULL);
}

/* The terminal first, then what the signal would have done without us. */
static void on_signal(int sig)
{
	int saved = errno;

	restore();
	raise(sig);
	errno = saved;
}

static int hide_typing(struct error **err)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct termios quiet;

	if (tcgetattr(terminal.fd, &terminal.before) < 0)
		return error_set(err, errno, "cannot read the terminal's settings");
	quiet = terminal.before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	quiet.c_lflag |= ICANON | ISIG;
	for (size_t i = 0; i < N_SIGNALS; i++)
		sigaction(signals[i], NULL, &terminal.old[i]);
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (terminal.old[i].sa_handler != SIG_IGN)
			sigaction(signals[i], &act, NULL);
	if (tcsetattr(terminal.fd, TCSAFLUSH, &quiet) == 0)
		return 0;
	error_set(err, errno, "cannot change the terminal's settings");
	restore();
	return -1;
}

/* A line, without its end. */
static int read_line(struct secret_buffer *b, struct error **err)
{
	b->bytes = xzalloc(PASSWORD_MAX + 1);
	for (;;) {
		struct pollfd p = { .fd = terminal.fd, .events = POLLIN };
		ssize_t n;

		if (interrupt_pending())
			return error_set(err, EINTR, "no password was typed");
		if (poll(&p, 1, LOOK_MS) <= 0)
			continue;
		n = read(terminal.fd, b->bytes + b->len, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "cannot read the password");
		if (n == 0)
			return error_set(err, 0, "no password was typed");
		if (b->bytes[b->len] == '\n') {
			b->bytes[b->len] = '\0';
			return 0;
		}
		if (++b->len == PASSWORD_MAX)
			return error_set(err, 0, "the password is too long");
	}
}

static char *ask(const char *user, struct error **err)
{
	CLEANUP_SECRET_BUFFER struct secret_buffer b = { 0 };
	CLEANUP_FREE char *shown = text_shown(user);
	int rc;

	if (hide_typing(err) < 0)
		return NULL;
	dprintf(terminal.fd, "Password of %s: ", shown);
	rc = read_line(&b, err);
	dprintf(terminal.fd, "\n");
	restore();
	return rc < 0 ? NULL : xstrdup(b.bytes);
}

char *ask_password(const char *user, struct error **err)
{
	CLEANUP_FD int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	char *password;

	if (fd < 0) {
		CLEANUP_FREE char *shown = text_shown(user);

		error_set(err, 0,
			"the password of %s is missing, and there is no terminal to ask on", shown);
		error_hint(err, "write USER:PASS, or use --authfile");
		return NULL;
	}
	pthread_mutex_lock(&one);
	terminal.fd = fd;
	password = ask(user, err);
	pthread_mutex_unlock(&one);
	return password;
}
