// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/holder/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/thread.h"
#include "lib/serve/holder/handover.h"
#include "lib/serve/holder/keep_part.h"
#include "lib/serve/holder/notify.h"
#include "lib/serve/holder/requests.h"

#ifndef F_DUPFD_QUERY /* Linux 6.10; not in Debian 12's headers */
#define F_DUPFD_QUERY 1027
#endif

#define ACK_TIME     30000 /* milliseconds for the holder to answer */
#define BARRIER_TIME 5000 /* and for the service manager */
#define BEAT	     1000

bool keep_is_worker(void)
{
	return getenv(HANDOVER_HOLDER) && handover_count(true) > 0;
}

/* --- the table ------------------------------------------------------------------------ */

static struct keep_entry *find(const struct keep *k, const char *name)
{
	for (size_t i = 0; i < k->n_entries; i++)
		if (strcmp(k->entries[i].name, name) == 0)
			return &k->entries[i];
	return NULL;
}

/* `fd` becomes the table's. True: in the place of another. */
static bool set(struct keep *k, const char *name, int fd)
{
	struct keep_entry *e = find(k, name);

	if (e) {
		close(e->fd);
		e->fd = fd;
		return true;
	}
	k->entries = xgrow(k->entries, k->n_entries, &k->cap_entries, sizeof(*k->entries));
	k->entries[k->n_entries++] = (struct keep_entry){ xstrdup(name), fd };
	return false;
}

static void unset(struct keep *k, struct keep_entry *e)
{
	close(e->fd);
	free(e->name);
	*e = k->entries[--k->n_entries];
}

int keep_find(const struct keep *k, const char *name)
{
	struct keep *mine = (struct keep *)(uintptr_t)k; /* its lock */
	struct keep_entry *e;
	int fd = -1;

	pthread_mutex_lock(&mine->lock);
	e = find(k, name);
	if (e)
		fd = fcntl(e->fd, F_DUPFD_CLOEXEC, HANDOVER_FIRST);
	pthread_mutex_unlock(&mine->lock);
	return fd;
}

bool keep_has(const struct keep *k, const char *name)
{
	CLEANUP_FD int fd = keep_find(k, name);

	return fd >= 0;
}

const char *keep_name(const struct keep *k, const char *prefix, unsigned i)
{
	struct keep *mine = (struct keep *)(uintptr_t)k;
	const char *name = NULL;
	size_t n = strlen(prefix);

	pthread_mutex_lock(&mine->lock);
	for (size_t j = 0; !name && j < k->n_entries; j++)
		if (k->entries[j].name[0] != '.' && strncmp(k->entries[j].name, prefix, n) == 0 &&
			i-- == 0)
			name = k->entries[j].name;
	pthread_mutex_unlock(&mine->lock);
	return name;
}

struct requests *keep_requests(const struct keep *k)
{
	return k->requests;
}

int keep_requests_eventfd(const struct keep *k)
{
	return k->wake;
}

/* --- the service manager -------------------------------------------------------------- */

/*
 * systemd says that it keeps descriptors only since version 254 ($FDSTORE); our unit, which asks
 * for it, says so for those before.
 */
bool keep_is_backed(const struct keep *k)
{
	const char *n = getenv("FDSTORE"), *ours = getenv("EROFS_CONVERT_FDSTORE");

	return notify_is_possible() && ((n && atoi(n) > 0) || (ours && strcmp(ours, "1") == 0));
}

static int tell(const char *name, const char *what, int fd)
{
	CLEANUP_FREE char *text = xasprintf("%s\nFDNAME=%s", what, name);

	return notify_send(text, fd);
}

/* It would watch them and drop those that hang up, as /dev/fuse does without a mount. */
static int store(const struct keep *k, const char *name, int fd, bool replaces, struct error **err)
{
	if (!keep_is_backed(k))
		return 0;
	if ((replaces && tell(name, "FDSTOREREMOVE=1", -1) < 0) ||
		tell(name, "FDSTORE=1\nFDPOLL=0", fd) < 0)
		return error_set(err, errno, "the service manager does not keep \"%s\"", name);
	if (notify_barrier(BARRIER_TIME) < 0)
		log_warn("the service manager is slow to keep \"%s\": %s", name, strerror(errno));
	return 0;
}

void keep_ready(struct keep *k)
{
	struct message m = { .kind = MESSAGE_READY };

	pthread_mutex_lock(&k->lock);
	message_send(k->socket, &m, -1, MSG_DONTWAIT);
	pthread_mutex_unlock(&k->lock);
	if (notify_send("READY=1", -1) < 0)
		log_warn("cannot tell the service manager: %s", strerror(errno));
}

void keep_status(struct keep *k, const char *fmt, ...)
{
	CLEANUP_FREE char *text = NULL, *line = NULL;
	va_list ap;

	if (!notify_is_possible())
		return;
	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	for (char *c = text; *c; c++)
		if (*c == '\n')
			*c = ' ';
	line = xasprintf("STATUS=%s", text);
	notify_send(line, -1);
}

/* --- the holder ----------------------------------------------------------------------- */

/* 1: done, 0: it is dead, -1: it says no, or nothing. */
static int wait_for_ack(struct keep *k, uint32_t serial, struct error **err)
{
	struct pollfd p = { .fd = k->socket, .events = POLLIN };
	struct message m;
	int fd, rc;

	do {
		rc = poll(&p, 1, ACK_TIME);
		if (rc < 0 && errno == EINTR)
			continue;
		if (rc <= 0)
			return error_set(err, rc ? errno : ETIMEDOUT, "the holder does not answer");
		rc = message_receive(k->socket, &m, &fd, 0);
		if (fd >= 0)
			close(fd);
		if (rc < 0)
			return error_set(err, errno, "the holder's answer cannot be read");
		if (rc == 0)
			return 0;
	} while (rc != 1 || m.kind != MESSAGE_ACK || m.serial != serial);
	return m.code ? error_set(err, m.code, "the holder does not keep \"%s\"", m.name) : 1;
}

/* A new holder, where it died meanwhile, begins with the table as it is now: nothing to repeat. */
static int ask(struct keep *k, enum message_kind kind, const char *name, int fd, struct error **err)
{
	struct message m = { .kind = kind, .serial = ++k->serial };
	int rc = 0;

	memcpy(m.name, name, strlen(name) + 1);
	if (k->socket >= 0 && message_send(k->socket, &m, fd, 0) == 0)
		rc = wait_for_ack(k, m.serial, err);
	else if (k->socket >= 0 && errno != EPIPE && errno != ECONNRESET) /* it lives */
		return error_set(err, errno, "cannot tell the holder of \"%s\"", name);
	return rc ? rc : keep_replace_holder(k, err);
}

static int check_name(const char *name, struct error **err)
{
	if (!handover_name_is_valid(name) || name[0] == '.' || strcmp(name, KEEP_REQUESTS) == 0)
		return error_set(err, EINVAL, "no descriptor can be kept as \"%s\"", name);
	return 0;
}

/* The same open file? */
static bool is_there(const struct keep *k, const char *name, int fd)
{
	const struct keep_entry *e = find(k, name);

	return e && fcntl(e->fd, F_DUPFD_QUERY, fd) == 1;
}

int keep_put(struct keep *k, const char *name, int fd, struct error **err)
{
	int copy, rc;
	bool replaces, again;

	if (check_name(name, err) < 0)
		return -1;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, HANDOVER_FIRST);
	if (copy < 0)
		return error_set(err, errno, "cannot keep \"%s\"", name);
	pthread_mutex_lock(&k->lock);
	again = is_there(k, name, fd);
	replaces = set(k, name, copy);
	rc = ask(k, MESSAGE_PUT, name, copy, err);
	if (rc < 0 && !replaces && k->socket >= 0)
		unset(k, find(k, name)); /* refused: a new holder would refuse it, too */
	if (rc >= 0)
		rc = store(k, name, copy, replaces && !again, err);
	pthread_mutex_unlock(&k->lock);
	return rc < 0 ? -1 : 0;
}

void keep_drop(struct keep *k, const char *name)
{
	CLEANUP_FREE char *copy = xstrdup(name); /* it may be the entry's own: keep_name() */
	CLEANUP_ERROR struct error *err = NULL;
	struct keep_entry *e;

	if (check_name(name, &err) < 0)
		return;
	pthread_mutex_lock(&k->lock);
	e = find(k, name);
	if (e) {
		if (keep_is_backed(k))
			tell(name, "FDSTOREREMOVE=1", -1);
		unset(k, e);
		if (ask(k, MESSAGE_DROP, copy, -1, &err) < 0)
			log_warn("%s", err->msg);
	}
	pthread_mutex_unlock(&k->lock);
}

/* --- the thread ----------------------------------------------------------------------- */

static void look_after_holder(struct keep *k)
{
	CLEANUP_ERROR struct error *err = NULL;

	pthread_mutex_lock(&k->lock);
	if (keep_holder_is_dead(k) && keep_replace_holder(k, &err) < 0)
		log_error("%s", err->msg);
	pthread_mutex_unlock(&k->lock);
}

/* The socket's answers are for those who asked: only its end is looked for. A thread of keep_put()
 * may exchange it meanwhile: then the old one's end, or a number of something else, is a reason to
 * look, no more. */
static void *watch(void *arg)
{
	struct keep *k = arg;
	int socket;

	for (;;) {
		struct pollfd p[2] = { { .fd = k->stop, .events = POLLIN } };

		pthread_mutex_lock(&k->lock);
		socket = k->socket;
		pthread_mutex_unlock(&k->lock);
		p[1].fd = socket;
		if (poll(p, 2, BEAT) < 0 && errno != EINTR)
			poll(NULL, 0, BEAT);
		if (p[0].revents)
			return NULL;
		atomic_store(&k->requests->beat, keep_now());
		if (p[1].revents || socket < 0)
			look_after_holder(k);
	}
}

/* --- begin and end -------------------------------------------------------------------- */

/* Of several that share a name the last counts. */
static void take_over(struct keep *k)
{
	unsigned n = handover_count(true);
	char name[KEEP_NAME_MAX + 1];
	const char *at = NULL;

	for (unsigned i = 0; i < n; i++) {
		int fd = HANDOVER_FIRST + (int)i;

		handover_name(&at, name);
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
			set(k, name, fd);
	}
}

static int find_socket(struct keep *k, struct error **err)
{
	const char *text = getenv(HANDOVER_HOLDER);
	char *end = NULL;
	long n = text ? strtol(text, &end, 10) : -1;

	if (!keep_is_worker() || n < 0 || n > INT_MAX || *end ||
		fcntl((int)n, F_SETFD, FD_CLOEXEC) < 0)
		return error_set(err, 0, "this process is not the worker of a holder");
	k->socket = (int)n;
	return 0;
}

static int begin(struct keep *k, struct error **err)
{
	struct keep_entry *requests, *wake;

	if (find_socket(k, err) < 0)
		return -1;
	take_over(k);
	requests = find(k, KEEP_REQUESTS);
	wake = find(k, HANDOVER_WAKE);
	if (!requests || !wake || !(k->requests = requests_map(requests->fd)))
		return error_set(err, 0, "the holder's table of requests cannot be used");
	k->wake = wake->fd;
	k->argv = keep_command_line(&k->command_line, err);
	k->stop = eventfd(0, EFD_CLOEXEC);
	if (!k->argv || k->stop < 0)
		return k->argv ? error_set(err, errno, "eventfd") : -1;
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
	unsetenv(HANDOVER_HOLDER);
	atomic_store(&k->requests->worker_pid, (uint32_t)getpid());
	atomic_store(&k->requests->beat, keep_now());
	if (store(k, KEEP_REQUESTS, requests->fd, false, err) < 0)
		return -1;
	return thread_start(&k->thread, watch, k, err);
}

static void free_keep(struct keep *k)
{
	for (size_t i = 0; i < k->n_entries; i++) {
		close(k->entries[i].fd);
		free(k->entries[i].name);
	}
	free(k->entries);
	if (k->socket >= 0)
		close(k->socket);
	if (k->stop >= 0)
		close(k->stop);
	if (k->requests)
		munmap(k->requests, sizeof(*k->requests));
	free(k->argv);
	free(k->command_line);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

struct keep *keep_open(struct error **err)
{
	struct keep *k = xzalloc(sizeof(*k));

	pthread_mutex_init(&k->lock, NULL);
	k->socket = k->stop = k->wake = -1;
	if (begin(k, err) < 0) {
		free_keep(k);
		return NULL;
	}
	return k;
}

void keep_close(struct keep *k)
{
	struct message bye = { .kind = MESSAGE_BYE };
	uint64_t one = 1;

	if (!k)
		return;
	if (write(k->stop, &one, sizeof(one)) == sizeof(one))
		pthread_join(k->thread, NULL);
	if (k->socket >= 0)
		message_send(k->socket, &bye, -1, MSG_DONTWAIT);
	free_keep(k);
}
