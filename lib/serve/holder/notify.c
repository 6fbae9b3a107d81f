// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/holder/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

bool notify_is_possible(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	return path && *path;
}

/* '@' begins an abstract name. */
static int address(struct sockaddr_un *a, socklen_t *len)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t n = path ? strlen(path) : 0;

	if (n < 2 || n >= sizeof(a->sun_path) || (*path != '/' && *path != '@')) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(a->sun_path, path, n);
	if (*path == '@')
		a->sun_path[0] = '\0';
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (*path == '/'));
	return 0;
}

static void attach(struct msghdr *h, char *control, size_t size, int fd)
{
	struct cmsghdr *c;

	h->msg_control = control;
	h->msg_controllen = size;
	c = CMSG_FIRSTHDR(h);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
}

int notify_send(const char *text, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec io = { .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };
	struct sockaddr_un to;
	struct msghdr h = { .msg_name = &to, .msg_iov = &io, .msg_iovlen = 1 };
	CLEANUP_FD int s = -1;
	ssize_t n;

	if (!notify_is_possible())
		return 0;
	if (address(&to, &h.msg_namelen) < 0)
		return -1;
	s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return -1;
	if (fd >= 0)
		attach(&h, control, sizeof(control), fd);
	do
		n = sendmsg(s, &h, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

int notify_barrier(int milliseconds)
{
	CLEANUP_FD int ours = -1;
	struct pollfd p = { 0 };
	int ends[2], sent, n;

	if (!notify_is_possible())
		return 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	p.fd = ours = ends[0];
	sent = notify_send("BARRIER=1", ends[1]);
	close(ends[1]);
	if (sent < 0)
		return -1;
	n = poll(&p, 1, milliseconds);
	if (n == 0)
		errno = ETIMEDOUT;
	return n == 1 ? 0 : -1;
}
