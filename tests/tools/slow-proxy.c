// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A slow line on loopback, for measurements: a TCP proxy that delays all bytes and caps the rate
 * of all connections together.
 *
 *	slow-proxy HOST:PORT DELAY_MS BYTES_PER_SECOND
 *
 * DELAY_MS is that of a round trip, half of it each way; a new connection's first bytes wait for
 * one more, as the handshake that they stand for would. Rate 0 is no cap. Prints the port it
 * listens on, and ends with its standard input.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/mem.h"

enum {
	MAX_CONNECTIONS = 512,
	WINDOW = 4 << 20, /* bytes under way in one direction: more than rate times delay needs */
	PIECE = 32 << 10,
	PIECES = WINDOW / 512, /* small pieces must not fill the line */
};
#define SECOND 1000000000ull
#define AHEAD  (SECOND / 500) /* how long a queue may stand before the cap */
#define LATE   (SECOND / 20) /* a shorter pause was this process's own, and is made up for */

struct piece {
	uint64_t due;
	size_t end; /* of all bytes so far */
};

/* Bytes on their way from one socket to another. Counters run on; the ring is their low part. */
struct line {
	int from, to;
	uint64_t earliest; /* no byte arrives before */
	size_t in, out; /* bytes taken, delivered */
	unsigned first, last; /* of the pieces */
	bool ended, closed; /* no more comes; that has been passed on */
	struct piece pieces[PIECES];
	char ring[WINDOW];
};

struct connection {
	struct line lines[2];
};

static struct connection *connections[MAX_CONNECTIONS];
static size_t n_connections;
static struct sockaddr_in upstream;
static uint64_t delay; /* ns, one way */
static uint64_t rate;
static uint64_t busy_until; /* the capped link has bytes until then */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "slow-proxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void prepare(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void line_init(struct line *l, int from, int to, uint64_t earliest)
{
	l->from = from;
	l->to = to;
	l->earliest = earliest;
}

static void connection_add(int client)
{
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct connection *c;

	if (n_connections == MAX_CONNECTIONS || server < 0 ||
		connect(server, (struct sockaddr *)&upstream, sizeof(upstream)) < 0) {
		close(server);
		close(client);
		return;
	}
	prepare(client);
	prepare(server);
	c = xcalloc(1, sizeof(*c));
	line_init(&c->lines[0], client, server, now_ns() + 3 * delay);
	line_init(&c->lines[1], server, client, 0);
	connections[n_connections++] = c;
}

static void connection_remove(size_t i)
{
	struct connection *c = connections[i];

	close(c->lines[0].from);
	close(c->lines[0].to);
	free(c);
	connections[i] = connections[--n_connections];
}

/* When bytes that come now have passed the link and the way behind it. */
static uint64_t passage(const struct line *l, size_t bytes, uint64_t now)
{
	uint64_t due;

	if (busy_until + LATE < now)
		busy_until = now;
	if (rate)
		busy_until += bytes * SECOND / rate;
	due = (busy_until > now ? busy_until : now) + delay;
	return due > l->earliest ? due : l->earliest;
}

static bool has_room(const struct line *l)
{
	return !l->ended && l->in - l->out <= WINDOW - PIECE && l->last - l->first < PIECES;
}

/* What is there, up to a piece. -1: the connection is broken. */
static int take(struct line *l, uint64_t now)
{
	size_t at = l->in % WINDOW;
	size_t room = at + PIECE > WINDOW ? WINDOW - at : PIECE;
	ssize_t n = recv(l->from, l->ring + at, room, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	l->ended = n == 0;
	l->in += n;
	l->pieces[l->last++ % PIECES] = (struct piece){ passage(l, n, now), l->in };
	return 0;
}

/* Bytes whose time has come. */
static int deliver(struct line *l, uint64_t now)
{
	while (l->first != l->last && l->pieces[l->first % PIECES].due <= now) {
		size_t at = l->out % WINDOW, left = l->pieces[l->first % PIECES].end - l->out;
		size_t len = at + left > WINDOW ? WINDOW - at : left;
		ssize_t n = len ? send(l->to, l->ring + at, len, MSG_NOSIGNAL) : 0;

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		l->out += n;
		if (l->out == l->pieces[l->first % PIECES].end)
			l->first++;
	}
	if (l->ended && l->first == l->last && !l->closed) {
		shutdown(l->to, SHUT_WR);
		l->closed = true;
	}
	return 0;
}

/* What the line waits for; moves `wake` ahead to when its next piece is due. */
static short wanted(const struct line *l, uint64_t now, uint64_t *wake, short *to)
{
	if (l->first != l->last) {
		uint64_t due = l->pieces[l->first % PIECES].due;

		if (due <= now)
			*to |= POLLOUT;
		else if (due < *wake)
			*wake = due;
	}
	return has_room(l) && busy_until <= now + AHEAD ? POLLIN : 0;
}

static void wait_for_events(struct pollfd *polls, int listener)
{
	uint64_t now = now_ns(), wake = now + SECOND;
	struct timespec left;

	polls[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
	polls[1] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
	if (busy_until > now + AHEAD)
		wake = busy_until - AHEAD;
	for (size_t i = 0; i < n_connections; i++) {
		struct line *l = connections[i]->lines;
		struct pollfd *p = polls + 2 + 2 * i;
		short client = 0, server = 0;

		client |= wanted(&l[0], now, &wake, &server);
		server |= wanted(&l[1], now, &wake, &client);
		/* A socket that nothing is wanted of is left out: it would report its end for ever.
		 */
		p[0] = (struct pollfd){ .fd = client ? l[0].from : -1, .events = client };
		p[1] = (struct pollfd){ .fd = server ? l[1].from : -1, .events = server };
	}
	wake = wake > now ? wake - now : 0;
	left = (struct timespec){ .tv_sec = wake / SECOND, .tv_nsec = wake % SECOND };
	ppoll(polls, 2 + 2 * n_connections, &left, NULL);
}

static bool serve(struct connection *c, const struct pollfd *p)
{
	uint64_t now = now_ns();

	for (int i = 0; i < 2; i++) {
		struct line *l = &c->lines[i];
		bool ready = p[i].revents & (POLLIN | POLLHUP | POLLERR);

		if (ready && has_room(l) && busy_until <= now + AHEAD && take(l, now) < 0)
			return false;
		if (deliver(l, now) < 0)
			return false;
	}
	return !(c->lines[0].closed && c->lines[1].closed);
}

static void run(int listener)
{
	static struct pollfd polls[2 + 2 * MAX_CONNECTIONS];
	static size_t turn;

	for (;;) {
		size_t n = n_connections;

		wait_for_events(polls, listener);
		if (polls[1].revents)
			return;
		/* Each time another one first, so that all get their part of the rate. */
		turn = n ? (turn + 1) % n : 0;
		for (size_t k = 0; k < n; k++) {
			size_t i = (turn + k) % n;

			if (!serve(connections[i], polls + 2 + 2 * i)) {
				connection_remove(i);
				break; /* the places have changed */
			}
		}
		if (polls[0].revents) {
			int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

			if (client >= 0)
				connection_add(client);
		}
	}
}

static int listen_anywhere(void)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(here);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&here, len) < 0 || listen(fd, 128) < 0 ||
		getsockname(fd, (struct sockaddr *)&here, &len) < 0)
		die("listen");
	printf("%d\n", ntohs(here.sin_port));
	fflush(stdout);
	return fd;
}

int main(int argc, char **argv)
{
	char host[64], *colon;

	if (argc != 4 || strlen(argv[1]) >= sizeof(host) || !strchr(argv[1], ':')) {
		fprintf(stderr, "usage: slow-proxy HOST:PORT DELAY_MS BYTES_PER_SECOND\n");
		return 2;
	}
	strcpy(host, argv[1]);
	colon = strrchr(host, ':');
	*colon = '\0';
	upstream.sin_family = AF_INET;
	upstream.sin_port = htons(atoi(colon + 1));
	if (inet_pton(AF_INET, host, &upstream.sin_addr) != 1) {
		fprintf(stderr, "slow-proxy: %s: an IPv4 address is needed\n", host);
		return 2;
	}
	delay = (uint64_t)(strtod(argv[2], NULL) * 1e6) / 2;
	rate = strtoull(argv[3], NULL, 10);
	signal(SIGPIPE, SIG_IGN);
	run(listen_anywhere());
	return 0;
}
