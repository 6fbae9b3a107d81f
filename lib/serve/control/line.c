// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/control/line.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"

enum { PIECE = 64 * 1024, FDS_MAX = 8, LOOK_MS = 200 };

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

struct until {
	bool limited;
	int64_t end;
};

static struct until until_of(int ms)
{
	return (struct until){ ms != LINE_PATIENT, now_ms() + ms };
}

static int wait_for(int socket, short events, const struct until *u, struct error **err)
{
	for (;;) {
		struct pollfd p = { .fd = socket, .events = events };
		int64_t left = u->limited ? u->end - now_ms() : LOOK_MS;

		if (left <= 0)
			return error_set(err, ETIMEDOUT, "the other end of the socket is silent");
		if (poll(&p, 1, left < LOOK_MS ? (int)left : LOOK_MS) > 0)
			return 0;
		if (interrupt_pending())
			return error_set(err, 0, "interrupted");
	}
}

static void take_fds(struct line *l, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fds[FDS_MAX];

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || n > FDS_MAX)
			continue;
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		for (size_t i = 0; i < n; i++) {
			if (l->fd < 0)
				l->fd = fds[i];
			else
				close(fds[i]);
		}
	}
}

static ssize_t receive_some(int socket, struct line *l, size_t size)
{
	union {
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec v = { l->bytes + l->len, size };
	struct msghdr m = { .msg_iov = &v,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes) };
	ssize_t n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n >= 0)
		take_fds(l, &m);
	return n;
}

/* A plain realloc would leave a copy of a secret behind. */
static void make_room(struct line *l, size_t max)
{
	size_t cap = l->cap ? 4 * l->cap : PIECE;
	char *more;

	if (l->len < l->cap)
		return;
	more = xmalloc(cap < max ? cap : max);
	if (l->len)
		memcpy(more, l->bytes, l->len);
	if (l->bytes)
		explicit_bzero(l->bytes, l->len);
	free(l->bytes);
	l->bytes = more;
	l->cap = cap < max ? cap : max;
}

int line_receive(int socket, struct line *l, size_t max, int ms, struct error **err)
{
	struct until u = until_of(ms);

	for (;;) {
		ssize_t n;

		if (l->len == max)
			return error_set(err, 0, "a line of more than %zu bytes", max - 1);
		make_room(l, max);
		if (wait_for(socket, POLLIN, &u, err) < 0)
			return -1;
		n = receive_some(socket, l, l->cap - l->len);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return error_set(err, errno, "cannot read from the socket");
		if (n == 0)
			return error_set(err, 0, "the other end has gone without a whole line");
		if (n < 0)
			continue;
		l->len += (size_t)n;
		if (memchr(l->bytes + l->len - n, '\n', (size_t)n))
			return 0;
	}
}

static ssize_t send_some(int socket, const char *bytes, size_t len, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec v = { (char *)bytes, len };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		*CMSG_FIRSTHDR(&m) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(int));
	}
	return sendmsg(socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int line_send(int socket, const char *bytes, size_t len, int fd, int ms, struct error **err)
{
	struct until u = until_of(ms);

	while (len) {
		ssize_t n = send_some(socket, bytes, len, fd);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return error_set(err, errno, "cannot write to the socket");
		if (n < 0 && wait_for(socket, POLLOUT, &u, err) < 0)
			return -1;
		if (n <= 0)
			continue;
		fd = -1;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

void line_free(struct line *l)
{
	if (l->bytes)
		explicit_bzero(l->bytes, l->len);
	free(l->bytes);
	cleanup_fd_(&l->fd);
	*l = LINE_NONE;
}
