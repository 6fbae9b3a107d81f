// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/serve/holder/holder.h"

#define OWN_MAX		64 /* descriptors of its own, at most */
#define SECOND		UINT64_C(1000000000)
#define DEADLINE_SECOND 65

extern char **environ;

uint64_t holder_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* stdio would allocate. */
void holder_say(const char *fmt, ...)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "erofs-convert-holder: ");
	va_list ap;

	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nobody is there to hear of that */
}

__attribute__((noreturn)) static void die(const char *what)
{
	holder_say("%s: %s", what, strerror(errno));
	exit(1);
}

int holder_raise(struct holder *h, int fd)
{
	int raised = fcntl(fd, F_DUPFD_CLOEXEC, h->base);

	if (raised < 0)
		die("no room for a descriptor");
	close(fd);
	return raised;
}

/* Numbers 0 to 2 must never be an event's. */
static void open_standard(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < HANDOVER_FIRST);
	if (fd < 0)
		die("/dev/null");
	close(fd);
}

/*
 * As many descriptors as are needed, or as are allowed: then fewer events are held at once, and
 * the other readers wait in the kernel's queue. A worker gets what is kept at numbers below base.
 */
static void set_limits(struct holder *h)
{
	const rlim_t want = EVENT_NUMBER_MAX + KEEP_MAX + OWN_MAX;
	struct rlimit l;
	rlim_t n;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		die("getrlimit");
	if (l.rlim_cur < want) {
		struct rlimit more = { want, l.rlim_max > want ? l.rlim_max : want };

		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			l = more;
		else
			l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
	n = l.rlim_cur < want ? l.rlim_cur : want;
	if (n < 4 * OWN_MAX) {
		errno = EMFILE;
		die("the limit of open files (ulimit -n) is too low");
	}
	h->kept_max = n / 4 < KEEP_MAX ? (unsigned)(n / 4) : KEEP_MAX;
	h->base = (int)n - (int)h->kept_max - OWN_MAX;
	h->held_max = (unsigned)h->base - OWN_MAX;
}

static void set_deadline(struct holder *h)
{
	const char *text = getenv(HANDOVER_DEADLINE);
	double seconds = text ? strtod(text, NULL) : 0;

	if (!(seconds > 0 && seconds < 86400))
		seconds = DEADLINE_SECOND;
	h->deadline = (uint64_t)(seconds * 1e9);
}

static bool is_for_worker(const char *assignment)
{
	static const char *const not [] = { "LISTEN_", HANDOVER_HOLDER "=", HANDOVER_ADOPT "=" };

	for (size_t i = 0; i < sizeof(not ) / sizeof(not [0]); i++)
		if (strncmp(assignment, not [i], strlen(not [i])) == 0)
			return false;
	return true;
}

static void copy_environment(struct holder *h)
{
	for (char **e = environ; *e; e++) {
		if (!is_for_worker(*e))
			continue;
		if (h->n_env == HOLDER_ENV_MAX) {
			holder_say("the environment has more than %d variables", HOLDER_ENV_MAX);
			break;
		}
		h->env[h->n_env++] = *e;
	}
}

/* Of several that share a name the last counts. */
static void take_over(struct holder *h, bool adopt)
{
	unsigned n = handover_count(!adopt);
	char name[KEEP_NAME_MAX + 1];
	const char *at = NULL;
	int code;

	for (unsigned i = 0; i < n; i++) {
		handover_name(&at, name);
		code = kept_put(h, name, HANDOVER_FIRST + (int)i);
		if (code)
			holder_say("the descriptor \"%s\" is not kept: %s", name, strerror(code));
	}
}

/* Those that are kept, when they are what they should be; else new ones. */
static void open_requests(struct holder *h)
{
	int fd = kept_find(h, KEEP_REQUESTS);

	h->requests = fd < 0 ? NULL : requests_map(fd);
	if (!h->requests) {
		fd = requests_create();
		if (fd < 0 || !(h->requests = requests_map(fd)))
			die("cannot make the table of requests");
		if ((errno = kept_put(h, KEEP_REQUESTS, fd)))
			die("cannot keep the table of requests");
	}
	if (kept_find(h, HANDOVER_WAKE) < 0) {
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fd < 0 || (errno = kept_put(h, HANDOVER_WAKE, fd)))
			die("eventfd");
	}
	h->wake = kept_find(h, HANDOVER_WAKE);
	atomic_store(&h->requests->holder_pid, (uint32_t)getpid());
}

static void watch_signals(struct holder *h)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, &h->signals_before) < 0)
		die("sigprocmask");
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		die("signalfd");
	h->signals = holder_raise(h, fd);
}

/* What can be done so that it is the last to die; not all may do all of it. */
static void protect(struct holder *h)
{
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, h->oom_before, sizeof(h->oom_before) - 1);

	h->oom_before[n < 0 ? 0 : n] = '\0';
	if (fd >= 0 && pwrite(fd, "-1000", 5, 0) < 0)
		h->oom_before[0] = '\0'; /* unchanged */
	if (fd >= 0)
		close(fd);
	prctl(PR_SET_NAME, "erofs-holder");
	mlockall(MCL_CURRENT | MCL_FUTURE);
}

void holder_start(struct holder *h, int argc, char **argv)
{
	bool adopt = getenv(HANDOVER_ADOPT) != NULL;
	int null;

	if (argc < 3 || strcmp(argv[1], "--") != 0 || argv[2][0] != '/') {
		holder_say("this is a part of `erofs-convert serve`, not to be started by itself");
		exit(2);
	}
	h->argv = argv + 2;
	h->may_linger = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	h->group = h->wake = h->pidfd = h->socket = -1;
	open_standard();
	set_limits(h);
	set_deadline(h);
	copy_environment(h);
	take_over(h, adopt);
	if (adopt)
		worker_adopt(h);
	open_requests(h);
	watch_signals(h);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		die("/dev/null");
	h->null = holder_raise(h, null);
	held_adopt(h);
	protect(h);
}
