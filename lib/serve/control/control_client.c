// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/control/control_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/base/caller.h"
#include "lib/registry/secret.h"
#include "lib/serve/control/line.h"

enum { PATIENCE_S = 30 };

static int connect_to(const char *path, struct error **err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = PATIENCE_S }; /* its backlog may be full */
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(a.sun_path))
		return error_set(err, ENAMETOOLONG, "a socket's path has at most %zu bytes",
			sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, path);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
		connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return error_set(err, errno, "cannot speak to the daemon");
	return take_fd(&fd);
}

int control_connect(const char *path, struct error **err)
{
	CLEANUP_FD int fd = connect_to(path, err);
	CLEANUP_CALLER struct caller daemon = { 0 };

	if (fd < 0 || caller_of_socket(&daemon, fd, err) < 0)
		return error_wrap(err, "%s", path);
	if (!caller_is_trusted(&daemon))
		return error_set(
			err, 0, "%s: that daemon is user %u's", path, (unsigned)daemon.uid);
	return take_fd(&fd);
}

bool control_is_absent(const struct error *e)
{
	return e->code == ENOENT || e->code == ECONNREFUSED || e->code == ENOTDIR;
}

/* Send the request and receive the answer; the descriptor beside it stays in the line. */
static json_t *exchange(
	int fd, const struct control_request *r, struct line *l, int ms, struct error **err)
{
	CLEANUP_WIPE char *request = control_request_format(r, err);

	if (!request || line_send(fd, request, strlen(request), -1, PATIENCE_S * 1000, err) < 0 ||
		line_receive(fd, l, CONTROL_ANSWER_MAX, ms, err) < 0)
		return NULL;
	return control_answer_parse(l->bytes, l->len, err);
}

static int mounted(
	struct service_answer *a, struct line *l, const json_t *answer, struct error **err)
{
	if (control_mounted_parse(a, answer, err) < 0)
		return -1;
	if (l->fd < 0)
		return error_set(err, 0, "the daemon's answer comes without the mount");
	a->mount = take_fd(&l->fd);
	return 0;
}

/* As long as the daemon has its own descriptor of the mount, nobody could unmount it. */
static void wait_for_end(int socket)
{
	struct pollfd p = { .fd = socket, .events = POLLIN };

	poll(&p, 1, PATIENCE_S * 1000);
}

int control_mount(
	int fd, const struct service_request *r, struct service_answer *a, struct error **err)
{
	const struct control_request request = { .verb = CONTROL_MOUNT, .mount = *r };
	CLEANUP_FD int socket = fd;
	CLEANUP_LINE struct line l = LINE_NONE;
	json_auto_t *answer = exchange(socket, &request, &l, LINE_PATIENT, err);

	if (!answer || mounted(a, &l, answer, err) < 0)
		return -1;
	wait_for_end(socket);
	return 0;
}

json_t *control_ask(int fd, enum control_verb verb, struct error **err)
{
	const struct control_request request = { .verb = verb };
	CLEANUP_FD int socket = fd;
	CLEANUP_LINE struct line l = LINE_NONE;

	return exchange(socket, &request, &l, PATIENCE_S * 1000, err);
}
