// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * One thread accepts, watches for who hangs up, and joins; one thread for each connection. The
 * first alone opens and closes descriptors, so that none is mistaken for another.
 */
#include "config.h"

#include "lib/serve/control/control_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/thread.h"
#include "lib/serve/control/control_part.h"
#include "lib/serve/control/line.h"
#include "lib/serve/control/listen.h"

enum { CONNECTIONS = 64, PATIENCE_MS = 10000, OF_ONE_USER = 8, TIRED_MS = 100, REFUSAL_MS = 100 };

struct slot {
	bool used; /* all but `done` belong to the accepting thread */
	_Atomic bool done;
	int wake;
	pthread_t thread;
	struct connection connection;
};

struct control_server {
	int listening, wake;
	struct service *service;
	struct control_options o;
	struct slot *slots; /* o.connections */
	struct pollfd *polled; /* o.connections + 2 */
	_Atomic unsigned n_used, n_asked;
	_Atomic bool stopping;
	pthread_t thread;
};

/* ---- listening ---- */

/* Is it bound to that path, and is the path still there? */
static bool is_at(int socket, const char *path)
{
	struct sockaddr_un a = { 0 };
	socklen_t len = sizeof(a);
	struct stat st;

	return getsockname(socket, (struct sockaddr *)&a, &len) == 0 && a.sun_family == AF_UNIX &&
	       strncmp(a.sun_path, path, sizeof(a.sun_path)) == 0 && lstat(path, &st) == 0 &&
	       S_ISSOCK(st.st_mode);
}

int control_listen(const char *path, unsigned mode, struct keep *k, struct error **err)
{
	CLEANUP_FD int fd = k ? keep_find(k, KEEP_SOCKET) : -1;

	if (fd >= 0 && is_at(fd, path)) {
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		return take_fd(&fd);
	}
	cleanup_fd_(&fd);
	fd = listen_at(path, mode, err);
	if (fd < 0 && (*err)->code == EADDRINUSE)
		error_hint(err, "`erofs-convert status`: a daemon answers there already");
	if (fd < 0)
		return error_wrap(err, "control socket");
	if (k && keep_put(k, KEEP_SOCKET, fd, err) < 0)
		return -1;
	return take_fd(&fd);
}

/* ---- connections ---- */

static void wake(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return; /* it is awake: the counter is full */
}

static void *serve_one(void *arg)
{
	struct slot *s = arg;

	connection_serve(&s->connection);
	s->done = true;
	wake(s->wake);
	return NULL;
}

static void release(struct control_server *c, struct slot *s)
{
	close(s->connection.fd);
	caller_free(&s->connection.caller);
	s->used = false;
	c->n_used--;
}

static void join_those_that_are_done(struct control_server *c)
{
	for (unsigned i = 0; i < c->o.connections; i++) {
		struct slot *s = &c->slots[i];

		if (!s->used || !s->done)
			continue;
		pthread_join(s->thread, NULL);
		release(c, s);
	}
}

static struct slot *free_slot(struct control_server *c)
{
	for (unsigned i = 0; i < c->o.connections; i++)
		if (!c->slots[i].used)
			return &c->slots[i];
	return NULL;
}

/* One user is not to keep out the others. */
static bool has_enough(const struct control_server *c, const struct caller *who)
{
	unsigned n = 0;

	if (caller_is_trusted(who))
		return false;
	for (unsigned i = 0; i < c->o.connections; i++)
		n += c->slots[i].used && c->slots[i].connection.caller.uid == who->uid;
	return n >= OF_ONE_USER;
}

static void refuse(int fd, struct error *e)
{
	CLEANUP_ERROR struct error *ignored = NULL;
	json_auto_t *v = control_error(e);
	CLEANUP_FREE char *text = json_dumps(v, JSON_COMPACT);
	CLEANUP_FREE char *line = text ? xasprintf("%s\n", text) : NULL;

	if (line)
		line_send(fd, line, strlen(line), -1, REFUSAL_MS, &ignored);
	close(fd);
	error_free(e);
}

static int begin(struct control_server *c, struct slot *s, int fd, struct error **err)
{
	s->wake = c->wake;
	s->done = false;
	s->connection = (struct connection){
		.fd = fd, .service = c->service, .options = &c->o, .n_asked = &c->n_asked
	};
	if (caller_of_socket(&s->connection.caller, fd, err) < 0)
		return -1;
	if (has_enough(c, &s->connection.caller))
		error_set(err, 0, "more than %d requests of user %u at once", OF_ONE_USER,
			(unsigned)s->connection.caller.uid);
	else if (thread_start(&s->thread, serve_one, s, err) == 0)
		return 0;
	caller_free(&s->connection.caller);
	return -1;
}

static void accept_one(struct control_server *c)
{
	struct slot *s = free_slot(c);
	struct error *err = NULL;
	int fd = s ? accept4(c->listening, NULL, NULL, SOCK_CLOEXEC) : -1;

	if (fd < 0) { /* without descriptors it would be asked at once again */
		if (s && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			poll(NULL, 0, TIRED_MS);
		return;
	}
	/* before it ends: who counts must not see nobody */
	c->n_used++;
	if (begin(c, s, fd, &err) == 0) {
		s->used = true;
		return;
	}
	refuse(fd, err);
	c->n_used--;
}

/* ---- the accepting thread ---- */

/* What is watched for the end of the other side is not asked for more: POLLHUP comes by itself. */
static unsigned fill_polled(struct control_server *c, struct slot **slots)
{
	unsigned n = 0;

	c->polled[n++] = (struct pollfd){ .fd = c->wake, .events = POLLIN };
	c->polled[n++] =
		(struct pollfd){ .fd = free_slot(c) ? c->listening : -1, .events = POLLIN };
	for (unsigned i = 0; i < c->o.connections; i++) {
		struct slot *s = &c->slots[i];

		if (!s->used || s->connection.gone)
			continue;
		slots[n] = s;
		c->polled[n++] = (struct pollfd){ .fd = s->connection.fd };
	}
	return n;
}

static void *accept_all(void *arg)
{
	struct control_server *c = arg;
	CLEANUP_FREE struct slot **slots = xcalloc(c->o.connections + 2, sizeof(*slots));

	while (!c->stopping) {
		unsigned n = fill_polled(c, slots);
		uint64_t ignored;

		if (poll(c->polled, n, -1) < 0)
			continue;
		if (c->polled[0].revents && read(c->wake, &ignored, sizeof(ignored)) < 0)
			continue;
		for (unsigned i = 2; i < n; i++)
			if (c->polled[i].revents & (POLLHUP | POLLERR))
				slots[i]->connection.gone = true;
		join_those_that_are_done(c);
		if (c->polled[1].revents)
			accept_one(c);
	}
	return NULL;
}

struct control_server *control_server_start(
	int listening, struct service *s, const struct control_options *o, struct error **err)
{
	struct control_server *c = xzalloc(sizeof(*c));

	c->listening = listening;
	c->service = s;
	c->o = *o;
	c->o.connections = o->connections ? o->connections : CONNECTIONS;
	c->o.patience_ms = o->patience_ms ? o->patience_ms : PATIENCE_MS;
	c->slots = xcalloc(c->o.connections, sizeof(*c->slots));
	c->polled = xcalloc(c->o.connections + 2, sizeof(*c->polled));
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake >= 0 && thread_start(&c->thread, accept_all, c, err) == 0)
		return c;
	if (c->wake < 0)
		error_set(err, errno, "cannot make an eventfd");
	cleanup_fd_(&c->wake);
	free(c->slots);
	free(c->polled);
	free(c);
	return NULL;
}

unsigned control_server_n_asked(struct control_server *c)
{
	return c->n_asked;
}

bool control_server_is_idle(struct control_server *c)
{
	return c->n_used == 0;
}

void control_server_stop(struct control_server *c)
{
	if (!c)
		return;
	c->stopping = true;
	wake(c->wake);
	pthread_join(c->thread, NULL);
	for (unsigned i = 0; i < c->o.connections; i++) {
		struct slot *s = &c->slots[i];

		if (!s->used)
			continue;
		s->connection.gone = true;
		shutdown(s->connection.fd, SHUT_RDWR);
		pthread_join(s->thread, NULL);
		release(c, s);
	}
	close(c->wake);
	free(c->slots);
	free(c->polled);
	free(c);
}
