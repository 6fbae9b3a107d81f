// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/control/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"

enum { BACKLOG = 16, FLAGS = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK };

/* ---- Unix ---- */

/* Does a listener answer there? */
static bool is_alive(const struct sockaddr_un *a)
{
	CLEANUP_FD int fd = socket(AF_UNIX, FLAGS, 0);

	/* EAGAIN: there is one, and its backlog is full */
	return fd >= 0 &&
	       (connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 || errno != ECONNREFUSED);
}

static int make_way(const struct sockaddr_un *a, struct error **err)
{
	struct stat st;

	if (lstat(a->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : error_set(err, errno, "stat");
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, 0, "there is something else than a socket");
	if (is_alive(a))
		return error_set(err, EADDRINUSE, "another process listens there");
	if (unlink(a->sun_path) < 0 && errno != ENOENT)
		return error_set(err, errno, "removing the old socket");
	return 0;
}

static int listen_unix(const char *path, unsigned mode, struct error **err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	CLEANUP_FD int fd = -1;

	if (strlen(path) >= sizeof(a.sun_path))
		return error_set(err, ENAMETOOLONG, "a socket's path has at most %zu bytes",
			sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, path);
	if (make_way(&a, err) < 0)
		return -1;
	fd = socket(AF_UNIX, FLAGS, 0);
	/* the mode is set before anybody can connect: until listen() all are refused */
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(path, mode) < 0 ||
		listen(fd, BACKLOG) < 0)
		return error_set(err, errno, "listening");
	return take_fd(&fd);
}

/* ---- TCP ---- */

static void cleanup_addrinfo_(struct addrinfo **list)
{
	if (*list)
		freeaddrinfo(*list);
}

static int listen_one(const struct addrinfo *a)
{
	CLEANUP_FD int fd = socket(a->ai_family, FLAGS, 0);
	int on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return -1;
	return take_fd(&fd);
}

/* Part "HOST:PORT" in place; the host without its brackets, or NULL. */
static char *part_host(char *address, char **port)
{
	size_t len;

	*port = strrchr(address, ':');
	if (!*port || *port == address)
		return NULL;
	*(*port)++ = '\0';
	len = strlen(address);
	if (address[0] != '[')
		return strchr(address, ':') ? NULL : address;
	if (len < 3 || address[len - 1] != ']')
		return NULL;
	address[len - 1] = '\0';
	return address + 1;
}

static int listen_tcp(const char *address, struct error **err)
{
	CLEANUP_FREE char *copy = xstrdup(address);
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	CLEANUP(cleanup_addrinfo_) struct addrinfo *list = NULL;
	char *port, *host = part_host(copy, &port);
	int rc, fd;

	if (!host)
		return error_set(err, 0, "neither /PATH nor HOST:PORT");
	rc = getaddrinfo(host, port, &hints, &list);
	if (rc)
		return error_set(err, 0, "%s", gai_strerror(rc));
	errno = EADDRNOTAVAIL;
	for (const struct addrinfo *a = list; a; a = a->ai_next)
		if ((fd = listen_one(a)) >= 0)
			return fd;
	return error_set(err, errno, "listening");
}

int listen_at(const char *address, unsigned mode, struct error **err)
{
	CLEANUP_FREE char *shown = text_shown(address);
	int fd = *address == '/' ? listen_unix(address, mode, err) : listen_tcp(address, err);

	if (fd < 0)
		error_wrap(err, "%s", shown);
	return fd;
}

void listen_forget(const char *address, int socket)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(a);

	/* who listens there by now, if it is not us, answers */
	if (*address != '/' || getsockname(socket, (struct sockaddr *)&a, &len) < 0)
		return;
	shutdown(socket, SHUT_RDWR);
	if (!is_alive(&a))
		unlink(address);
}
