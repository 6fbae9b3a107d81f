/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A server on loopback that does what a test's function says, request by request: also what no
 * good server does. Each connection has a thread.
 */
#ifndef TESTS_UNIT_HTTP_SERVER_H
#define TESTS_UNIT_HTTP_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "tests/unit/tap.h"

enum { SERVER_REQUESTS = 256, SERVER_HEAD = 16384, SERVER_CONNECTIONS = 256 };

struct server;

struct served {
	struct server *server;
	int fd;
	unsigned number; /* of the request, from 0 on */
	char method[16], target[2048];
	char head[SERVER_HEAD]; /* all of it, as it came */
	uint64_t length; /* of the body, as stated */
	bool keep; /* the connection, after the answer */
};

struct server {
	int fd;
	uint16_t port;
	char host[32];
	void (*serve)(struct served *x);
	void *state; /* the test's */
	void (*no_http)(struct served *x); /* before what is none is refused, TLS; or NULL */
	pthread_t thread;
	pthread_mutex_t lock;
	unsigned n;
	char *lines[SERVER_REQUESTS]; /* "GET /v2/..." of each request */
	_Atomic unsigned connections; /* so far */
	_Atomic uint64_t sent; /* bytes of answers */
	_Atomic bool stop;
	pthread_t threads[SERVER_CONNECTIONS];
	int fds[SERVER_CONNECTIONS];
};

static inline bool server_send(struct served *x, const void *p, size_t n)
{
	for (const char *at = p; n;) {
		ssize_t k = send(x->fd, at, n, MSG_NOSIGNAL);

		if (k <= 0)
			return false;
		x->server->sent += (uint64_t)k;
		at += k;
		n -= (size_t)k;
	}
	return true;
}

__attribute__((format(printf, 2, 3))) static inline bool server_printf(
	struct served *x, const char *fmt, ...)
{
	CLEANUP_FREE char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	return server_send(x, text, strlen(text));
}

/* A whole answer; `headers` end with \r\n each. */
static inline void server_answer(
	struct served *x, unsigned status, const char *headers, const void *body, size_t n)
{
	x->keep = server_printf(x, "HTTP/1.1 %u X\r\nContent-Length: %zu\r\n%s\r\n", status, n,
			  headers) &&
		  (strcmp(x->method, "HEAD") == 0 || server_send(x, body, n));
}

static inline void server_say(
	struct served *x, unsigned status, const char *headers, const char *body)
{
	server_answer(x, status, headers, body, strlen(body));
}

/* A header's value of the request, in a buffer of the caller's; "" when it is not there. */
static inline const char *server_header(const struct served *x, const char *name, char value[512])
{
	size_t n = strlen(name);

	*value = '\0';
	for (const char *p = strstr(x->head, "\r\n"); p && p[2]; p = strstr(p + 2, "\r\n")) {
		if (strncasecmp(p + 2, name, n) != 0 || p[2 + n] != ':')
			continue;
		p += 3 + n;
		p += strspn(p, " ");
		snprintf(value, 512, "%.*s", (int)strcspn(p, "\r"), p);
		break;
	}
	return value;
}

/* Take n bytes of the request's body; what came of them. */
static inline uint64_t server_drain(struct served *x, uint64_t n)
{
	static __thread char buf[65536];
	uint64_t got = 0;

	while (got < n) {
		ssize_t k = recv(x->fd, buf, n - got < sizeof(buf) ? n - got : sizeof(buf), 0);

		if (k <= 0)
			break;
		got += (uint64_t)k;
	}
	return got;
}

/* Say nothing more until the test ends. */
static inline void server_hang(struct served *x)
{
	char c;

	while (!x->server->stop && recv(x->fd, &c, 1, 0) > 0)
		continue;
}

/* Broken, not closed. */
static inline void server_reset(struct served *x)
{
	struct linger l = { 1, 0 };

	setsockopt(x->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	x->keep = false;
}

static inline bool server_read_head(struct served *x)
{
	size_t n = 0;
	char value[512];

	while (n < sizeof(x->head) - 1 && !(n > 3 && memcmp(x->head + n - 4, "\r\n\r\n", 4) == 0)) {
		if (recv(x->fd, x->head + n, 1, 0) != 1)
			return false;
		if (n == 0 && (x->head[0] < 'A' || x->head[0] > 'Z'))
			return false; /* TLS */
		n++;
	}
	x->head[n] = '\0';
	x->length = strtoull(server_header(x, "Content-Length", value), NULL, 10);
	return sscanf(x->head, "%15s %2047s", x->method, x->target) == 2;
}

static inline bool server_note(struct served *x)
{
	struct server *s = x->server;
	bool room;

	pthread_mutex_lock(&s->lock);
	x->number = s->n;
	room = s->n < SERVER_REQUESTS;
	if (room)
		s->lines[s->n++] = xasprintf("%s %s", x->method, x->target);
	pthread_mutex_unlock(&s->lock);
	return room;
}

struct server_connection {
	struct server *server;
	unsigned number;
};

/* Its number may be another's at once: nobody may find it any more. */
static inline void server_hang_up(struct server *s, unsigned number)
{
	pthread_mutex_lock(&s->lock);
	close(s->fds[number]); /* with SO_LINGER: resets */
	s->fds[number] = -1;
	pthread_mutex_unlock(&s->lock);
}

static inline void *server_talk(void *arg)
{
	struct server_connection *c = arg;
	CLEANUP_FREE struct served *x = xzalloc(sizeof(*x));

	x->server = c->server;
	x->fd = c->server->fds[c->number];
	do {
		x->keep = false;
		if (!server_read_head(x)) {
			if (*x->head && c->server->no_http)
				c->server->no_http(x);
			if (*x->head)
				server_printf(x, "HTTP/1.0 400 Bad Request\r\n\r\n");
			break;
		}
		if (!server_note(x))
			break;
		x->server->serve(x);
	} while (x->keep);
	server_hang_up(c->server, c->number);
	free(c);
	return NULL;
}

static inline void *server_run(void *arg)
{
	struct server *s = arg;

	while (!s->stop && s->connections < SERVER_CONNECTIONS) {
		int fd = accept(s->fd, NULL, NULL);
		struct server_connection *c;

		if (fd < 0)
			break;
		c = xmalloc(sizeof(*c));
		*c = (struct server_connection){ s, s->connections };
		s->fds[s->connections] = fd;
		pthread_create(&s->threads[s->connections], NULL, server_talk, c);
		s->connections++;
	}
	return NULL;
}

static inline struct server *server_start(void (*serve)(struct served *x), void *state)
{
	struct server *s = xzalloc(sizeof(*s));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);

	signal(SIGPIPE, SIG_IGN);
	setenv("no_proxy", "*", 1);
	s->serve = serve;
	s->state = state;
	pthread_mutex_init(&s->lock, NULL);
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(s->fd, (struct sockaddr *)&a, n) < 0 || listen(s->fd, 64) < 0 ||
		getsockname(s->fd, (struct sockaddr *)&a, &n) < 0) {
		perror("bind");
		exit(99);
	}
	s->port = ntohs(a.sin_port);
	snprintf(s->host, sizeof(s->host), "127.0.0.1:%u", s->port);
	pthread_create(&s->thread, NULL, server_run, s);
	return s;
}

/* How many requests began with this. */
static inline unsigned server_count(struct server *s, const char *prefix)
{
	unsigned n = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->n; i++)
		n += strncmp(s->lines[i], prefix, strlen(prefix)) == 0;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static inline void server_stop(struct server *s)
{
	s->stop = true;
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	for (unsigned i = 0; i < s->connections; i++) {
		pthread_mutex_lock(&s->lock);
		if (s->fds[i] >= 0)
			shutdown(s->fds[i], SHUT_RDWR);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->threads[i], NULL);
	}
	close(s->fd);
	for (unsigned i = 0; i < s->n; i++)
		free(s->lines[i]);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static inline void cleanup_server_(struct server **s)
{
	if (*s)
		server_stop(*s);
}
#define CLEANUP_SERVER CLEANUP(cleanup_server_)

#endif
