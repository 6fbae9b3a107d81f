// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* How holders are started: the first by exec, later ones by the worker. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/holder/handover.h"
#include "lib/serve/holder/keep_part.h"
#include "lib/serve/holder/notify.h"
#include "lib/serve/holder/requests.h"

#define PROGRAM	      "erofs-convert-holder"
#define ARGUMENTS_MAX (1 << 20)
#define SECOND	      UINT64_C(1000000000)

extern char **environ;

uint64_t keep_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static char *own_path(struct error **err)
{
	char *path = xmalloc(PATH_MAX);
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);

	if (n < 0) {
		error_set(err, errno, "cannot find this program: /proc/self/exe");
		free(path);
		return NULL;
	}
	path[n] = '\0';
	return path;
}

char *keep_find_program(struct error **err)
{
	const char *said = secure_getenv(HANDOVER_PROGRAM);
	CLEANUP_FREE char *self = own_path(err);
	CLEANUP_FREE char *beside = NULL;

	if (!self)
		return NULL;
	if (said)
		return xstrdup(said);
	*(strrchr(self, '/') + 1) = '\0'; /* the link is absolute */
	beside = xasprintf("%s" PROGRAM, self);
	if (access(beside, X_OK) == 0)
		return take_ptr(beside);
	if (access(LIBEXECDIR "/erofs-convert/" PROGRAM, X_OK) == 0)
		return xstrdup(LIBEXECDIR "/erofs-convert/" PROGRAM);
	error_set(err, errno, "%s is neither in %s nor in " LIBEXECDIR "/erofs-convert", PROGRAM,
		self);
	error_hint(err, "install it there: it is a part of this package");
	return NULL;
}

char **keep_command_line(char **buffer, struct error **err)
{
	CLEANUP_FD int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	char *text = xmalloc(ARGUMENTS_MAX + 1);
	char **argv = NULL;
	size_t n = 0, count = 0, cap = 0;
	ssize_t got = 0;

	while (fd >= 0 && n < ARGUMENTS_MAX && (got = read(fd, text + n, ARGUMENTS_MAX - n)) > 0)
		n += (size_t)got;
	if (fd < 0 || got < 0 || !n) {
		error_set(err, errno, "cannot read /proc/self/cmdline");
		free(text);
		return NULL;
	}
	text[n] = '\0';
	for (size_t at = 0; at < n; at += strlen(text + at) + 1) {
		argv = xgrow(argv, count, &cap, sizeof(*argv));
		argv[count++] = text + at;
	}
	argv = xgrow(argv, count, &cap, sizeof(*argv));
	argv[count] = NULL;
	*buffer = text;
	return argv;
}

/* PROGRAM -- ARGUMENT...; what the array holds is the caller's. */
static char **holder_arguments(char *program, char *const *argv)
{
	size_t n = 0;
	char **a;

	while (argv[n])
		n++;
	a = xcalloc(n + 3, sizeof(*a));
	a[0] = program;
	a[1] = (char *)(uintptr_t) "--";
	memcpy(a + 2, argv, n * sizeof(*a));
	return a;
}

int keep_exec_holder(char *const argv[], struct error **err)
{
	CLEANUP_FREE char *program = keep_find_program(err);
	CLEANUP_FREE char *self = program ? own_path(err) : NULL;
	CLEANUP_FREE char **a = NULL;

	if (!self)
		return -1;
	a = holder_arguments(program, argv);
	if (a[2])
		a[2] = self;
	unsetenv(HANDOVER_HOLDER);
	unsetenv(HANDOVER_ADOPT);
	execv(program, a);
	return error_set(err, errno, "cannot execute %s", program);
}

/* --- another one ---------------------------------------------------------------------- */

struct launch {
	int *fds; /* copies, above the numbers that the new process gets them at */
	size_t n;
	char **env;
	size_t n_env, cap_env;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
};

static void launch_free(struct launch *l)
{
	for (size_t i = 0; i < l->n; i++)
		close(l->fds[i]);
	free(l->fds);
	for (size_t i = 0; i < l->n_env; i++)
		free(l->env[i]);
	free(l->env);
	posix_spawn_file_actions_destroy(&l->actions);
	posix_spawnattr_destroy(&l->attributes);
}

static void add_env(struct launch *l, char *assignment)
{
	l->env = xgrow(l->env, l->n_env + 1, &l->cap_env, sizeof(*l->env));
	l->env[l->n_env++] = assignment;
	l->env[l->n_env] = NULL;
}

static void copy_env(struct launch *l)
{
	for (char **e = environ; *e; e++)
		if (strncmp(*e, "LISTEN_", 7) != 0 &&
			strncmp(*e, HANDOVER_HOLDER "=", sizeof(HANDOVER_HOLDER)) != 0 &&
			strncmp(*e, HANDOVER_ADOPT "=", sizeof(HANDOVER_ADOPT)) != 0)
			add_env(l, xstrdup(*e));
}

static int add_fd(struct launch *l, int fd, size_t total)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, HANDOVER_FIRST + (int)total);

	if (copy < 0)
		return errno;
	l->fds[l->n] = copy;
	return posix_spawn_file_actions_adddup2(&l->actions, copy, HANDOVER_FIRST + (int)l->n++);
}

static char *join_names(const struct keep *k)
{
	char *text = xmalloc(sizeof("LISTEN_FDNAMES=") + k->n_entries * (KEEP_NAME_MAX + 1));
	char *at = text + sprintf(text, "LISTEN_FDNAMES=");

	for (size_t i = 0; i < k->n_entries; i++)
		at += sprintf(at, "%s%s", i ? ":" : "", k->entries[i].name);
	return text;
}

/* What is kept, then the socket and a pidfd of this process. 0 or an errno value. */
static int set_up(struct launch *l, const struct keep *k, int socket, int pidfd)
{
	size_t total = k->n_entries + 2;
	sigset_t none, all;
	int code = 0;

	l->fds = xcalloc(total, sizeof(*l->fds));
	posix_spawn_file_actions_init(&l->actions);
	posix_spawnattr_init(&l->attributes);
	for (size_t i = 0; !code && i < k->n_entries; i++)
		code = add_fd(l, k->entries[i].fd, total);
	if (!code)
		code = add_fd(l, socket, total);
	if (!code)
		code = add_fd(l, pidfd, total);
	if (!code) /* the kernel makes some without close-on-exec: those of cachefiles' objects */
		code = posix_spawn_file_actions_addclosefrom_np(
			&l->actions, HANDOVER_FIRST + (int)total);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(&l->attributes, &none);
	posix_spawnattr_setsigdefault(&l->attributes, &all);
	posix_spawnattr_setflags(&l->attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	copy_env(l);
	add_env(l, xasprintf("LISTEN_FDS=%zu", k->n_entries));
	add_env(l, join_names(k));
	add_env(l, xasprintf(HANDOVER_ADOPT "=%zu:%zu", HANDOVER_FIRST + k->n_entries,
			   HANDOVER_FIRST + k->n_entries + 1));
	return code;
}

static int spawn(struct keep *k, int socket, int pidfd, struct error **err)
{
	CLEANUP_FREE char *program = keep_find_program(err);
	CLEANUP_FREE char **arguments = program ? holder_arguments(program, k->argv) : NULL;
	CLEANUP(launch_free) struct launch l = { 0 };
	int code;

	code = set_up(&l, k, socket, pidfd);
	if (!program)
		return -1;
	if (!code)
		code = posix_spawn(&k->child, program, &l.actions, &l.attributes, arguments, l.env);
	if (!code)
		return 0;
	k->child = 0;
	return error_set(err, code, "cannot start another holder");
}

int keep_holder_is_dead(const struct keep *k)
{
	struct pollfd p = { .fd = k->socket };

	return k->socket < 0 || (poll(&p, 1, 0) == 1 && p.revents);
}

/* One that dies at once, again and again, must not keep us busy. */
static void be_patient(struct keep *k)
{
	uint64_t now = keep_now();

	k->failures = k->spawned_at && now - k->spawned_at < SECOND / 2 ? k->failures + 1 : 0;
	if (k->failures > 3)
		poll(NULL, 0, 500);
	k->spawned_at = keep_now();
}

static void tell_manager(const struct keep *k)
{
	char text[64];

	snprintf(text, sizeof(text), "MAINPID=%d", k->child);
	if (notify_send(text, -1) < 0)
		log_warn("cannot tell the service manager of the new holder: %s", strerror(errno));
}

int keep_replace_holder(struct keep *k, struct error **err)
{
	CLEANUP_FD int pidfd = -1, theirs = -1;
	int ends[2];

	be_patient(k);
	if (k->child)
		waitpid(k->child, NULL, 0);
	k->child = 0;
	if (k->socket >= 0)
		close(k->socket);
	k->socket = -1;
	pidfd = pidfd_open(getpid(), 0);
	if (pidfd < 0)
		return error_set(err, errno, "pidfd_open");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return error_set(err, errno, "socketpair");
	theirs = ends[1];
	k->socket = ends[0];
	if (spawn(k, theirs, pidfd, err) < 0) {
		close(k->socket);
		k->socket = -1;
		return -1;
	}
	log_warn("the holder died; process %d is the new one", k->child);
	tell_manager(k);
	return 0;
}
