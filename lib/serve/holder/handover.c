// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/holder/handover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A whole decimal number of the environment; -1: there is none. */
static long number_of(const char *variable)
{
	const char *text = getenv(variable);
	char *end;
	long n;

	if (!text || *text < '0' || *text > '9')
		return -1;
	errno = 0;
	n = strtol(text, &end, 10);
	return *end || errno ? -1 : n;
}

unsigned handover_count(bool check_pid)
{
	long n = number_of("LISTEN_FDS");

	if (n <= 0 || n > KEEP_MAX + 64 || (check_pid && number_of("LISTEN_PID") != getpid()))
		return 0;
	return (unsigned)n;
}

void handover_name(const char **at, char name[static KEEP_NAME_MAX + 1])
{
	const char *begin = *at ? *at : getenv("LISTEN_FDNAMES");
	size_t n, cut;

	if (!begin)
		begin = "";
	n = strcspn(begin, ":");
	cut = n < KEEP_NAME_MAX ? n : KEEP_NAME_MAX;
	memcpy(name, begin, cut);
	name[cut] = '\0';
	*at = begin + n + (begin[n] == ':');
}

bool handover_name_is_valid(const char *name)
{
	size_t n = strnlen(name, KEEP_NAME_MAX + 1);

	if (!n || n > KEEP_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (name[i] <= ' ' || name[i] > '~' || name[i] == ':')
			return false;
	return true;
}

union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int message_send(int socket, const struct message *m, int fd, int flags)
{
	struct iovec io = { .iov_base = (void *)(uintptr_t)m, .iov_len = sizeof(*m) };
	union control control = { .bytes = { 0 } };
	struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		struct cmsghdr *c;

		h.msg_control = control.bytes;
		h.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	do
		n = sendmsg(socket, &h, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

int message_receive(int socket, struct message *m, int *fd, int flags)
{
	struct iovec io = { .iov_base = m, .iov_len = sizeof(*m) };
	union control control;
	struct msghdr h = { .msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c;
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(socket, &h, MSG_CMSG_CLOEXEC | flags);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 && errno != ECONNRESET ? -1 : 0;
	c = CMSG_FIRSTHDR(&h);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	if ((size_t)n != sizeof(*m)) {
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
		errno = EPROTO;
		return -1;
	}
	m->name[KEEP_NAME_MAX] = '\0';
	return 1;
}
