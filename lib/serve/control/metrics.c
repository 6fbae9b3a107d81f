// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/control/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/base/mem.h"
#include "lib/serve/control/health.h"
#include "lib/serve/control/listen.h"
#include "lib/serve/control/metrics_text.h"

enum {
	CONNECTIONS = 16,
	CONNECTIONS_MAX = 64, /* of the library, which then accepts nothing for a while */
	IDLE_SECONDS = 10,
	CONNECTION_BYTES = 16 * 1024, /* of a request, and of a response's head */
	SOCKET_MODE = 0666, /* numbers only */
};

struct metrics {
	struct service *service;
	struct keep *keep;
	char *address;
	int socket;
	struct MHD_Daemon *daemon;
	/* of the library's thread: */
	struct health health;
	int connections[CONNECTIONS_MAX]; /* sockets, the oldest first */
	unsigned n_connections;
};

/* ---- connections ---- */

/*
 * Who sends a byte now and then is never idle. So that such clients cannot keep others out, the
 * oldest connection ends for each that is too many; the library then sees its end, and forgets it.
 */
static void connection_begins(struct metrics *m, int fd)
{
	if (m->n_connections == CONNECTIONS_MAX)
		return; /* cannot be */
	m->connections[m->n_connections++] = fd;
	if (m->n_connections > CONNECTIONS)
		shutdown(m->connections[m->n_connections - CONNECTIONS - 1], SHUT_RDWR);
}

static void connection_ends(struct metrics *m, int fd)
{
	unsigned i = 0;

	while (i < m->n_connections && m->connections[i] != fd)
		i++;
	if (i == m->n_connections)
		return;
	m->n_connections--;
	memmove(m->connections + i, m->connections + i + 1,
		(m->n_connections - i) * sizeof(*m->connections));
}

static void notify_connection(void *arg, struct MHD_Connection *connection, void **context,
	enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	(void)context;
	if (!info)
		return;
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		connection_begins(arg, info->connect_fd);
	else
		connection_ends(arg, info->connect_fd);
}

/* ---- answers ---- */

/* Takes the text. */
static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, char *text,
	size_t len, const char *type)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result;

	if (!r)
		mem_exhausted();
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, r);
	MHD_destroy_response(r);
	return result;
}

static enum MHD_Result answer_line(
	struct MHD_Connection *connection, unsigned status, const char *line)
{
	char *text = xasprintf("%s\n", line);

	return answer(connection, status, text, strlen(text), "text/plain; charset=utf-8");
}

static const struct requests *requests_of(const struct metrics *m)
{
	return m->keep ? keep_requests(m->keep) : NULL;
}

static enum MHD_Result answer_metrics(struct metrics *m, struct MHD_Connection *connection)
{
	json_auto_t *status = service_status(m->service);
	struct engine_stats stats = { 0 };
	char *text;
	size_t len;

	service_stats(m->service, &stats);
	text = metrics_text(
		&(struct metrics_sample){
			.stats = &stats, .status = status, .requests = requests_of(m) },
		&len);
	return answer(
		connection, MHD_HTTP_OK, text, len, "text/plain; version=0.0.4; charset=utf-8");
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static enum MHD_Result answer_health(struct metrics *m, struct MHD_Connection *connection)
{
	const struct requests *r = requests_of(m);
	struct engine_stats stats = { 0 };
	uint64_t now = now_ns();
	unsigned overdue = 0;
	char reason[160];

	service_stats(m->service, &stats);
	if (r)
		metrics_waiting(r, now, HEALTH_GRACE_NS, &overdue);
	if (!health_judge(&m->health, now / 1000000, &stats, overdue, reason, sizeof(reason)))
		return answer_line(connection, MHD_HTTP_SERVICE_UNAVAILABLE, reason);
	return answer_line(connection, MHD_HTTP_OK, "ok");
}

/* A body that comes with the request is not read: the answer ends the connection. */
static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *body, size_t *size, void **context)
{
	struct metrics *m = arg;

	(void)version;
	(void)body;
	(void)size;
	(void)context;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer_line(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET or HEAD");
	if (strcmp(url, "/metrics") == 0)
		return answer_metrics(m, connection);
	if (strcmp(url, "/healthz") == 0)
		return answer_health(m, connection);
	return answer_line(connection, MHD_HTTP_NOT_FOUND, "/metrics or /healthz");
}

/* ---- start and stop ---- */

static void say_nothing(void *arg, const char *fmt, va_list ap)
{
	(void)arg;
	(void)fmt;
	(void)ap;
}

/*
 * The library's thread gets no signals: they are for the threads that look for them. It gets a
 * socket of its own, since it closes that, also in some of the cases where it does not start.
 */
static struct MHD_Daemon *start(struct metrics *m)
{
	int theirs = fcntl(m->socket, F_DUPFD_CLOEXEC, 3);
	struct MHD_Daemon *daemon;
	sigset_t all, before;

	if (theirs < 0)
		return NULL;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	daemon = MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | MHD_USE_ERROR_LOG, 0, NULL, NULL,
		handle, m, MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL, MHD_OPTION_LISTEN_SOCKET,
		theirs, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
		MHD_OPTION_NOTIFY_CONNECTION, notify_connection, m, MHD_OPTION_END);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return daemon;
}

struct metrics *metrics_start(
	const char *address, struct service *s, struct keep *k, struct error **err)
{
	struct metrics *m = xzalloc(sizeof(*m));

	*m = (struct metrics){ .service = s,
		.keep = k,
		.address = xstrdup(address),
		.socket = -1,
		.health.since = now_ns() / 1000000 };
	m->socket = listen_at(address, SOCKET_MODE, err);
	if (m->socket >= 0 && !(m->daemon = start(m))) {
		error_set(err, errno, "%s: starting the HTTP server", address);
		listen_forget(address, m->socket);
		close(m->socket);
	}
	if (m->daemon)
		return m;
	error_wrap(err, "metrics");
	free(m->address);
	free(m);
	return NULL;
}

void metrics_stop(struct metrics *m)
{
	if (!m)
		return;
	listen_forget(m->address, m->socket);
	MHD_stop_daemon(m->daemon);
	close(m->socket);
	free(m->address);
	free(m);
}

uint16_t metrics_port(const struct metrics *m)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);

	if (getsockname(m->socket, (struct sockaddr *)&a, &len) < 0)
		return 0;
	if (a.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&a)->sin_port);
	return a.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&a)->sin6_port) : 0;
}
