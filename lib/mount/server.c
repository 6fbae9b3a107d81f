// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The server listens on an abstract Unix socket that is named for the mount's device number, which
 * is the system's only one. It never answers. Who has connected learns whose process it is, and
 * waits for that to end; where the system does not tell, for the connection to end.
 */
#include "config.h"

#include "lib/mount/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "lib/base/log.h"

enum { PATIENCE = 30000 }; /* milliseconds */

int mount_device(const char *path, dev_t *dev)
{
	struct statx st;

	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0,
		    &st) < 0)
		return -1;
	*dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	return 0;
}

static socklen_t name_of(struct sockaddr_un *a, dev_t dev)
{
	int n;

	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "erofs-convert/mount/%u:%u",
		major(dev), minor(dev));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

int mount_server_announce(const char *mountpoint)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;
	socklen_t len;
	dev_t dev;

	if (fd < 0 || mount_device(mountpoint, &dev) < 0)
		return -1;
	len = name_of(&a, dev);
	if (bind(fd, (struct sockaddr *)&a, len) < 0 || listen(fd, 16) < 0)
		return -1;
	return take_fd(&fd);
}

/* Anybody may listen under that name; only what could be the server is waited for. */
static bool is_trusted(const struct ucred *peer)
{
	return peer->uid == 0 || peer->uid == geteuid() || geteuid() == 0;
}

/*
 * The process behind the connection, or -1. A connection that is still open says that the number
 * was not another process's when it was looked up. 0 is a process that our namespace does not show.
 */
static int open_process(int connection, pid_t pid)
{
	struct pollfd p = { .fd = connection, .events = POLLIN };
	CLEANUP_FD int fd = pid > 0 ? pidfd_open(pid, 0) : -1;

	if (fd < 0 || poll(&p, 1, 0) != 0)
		return -1;
	return take_fd(&fd);
}

int mount_server_find(dev_t dev)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;
	struct ucred peer;
	socklen_t len = name_of(&a, dev), peer_len = sizeof(peer);
	int process;

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, len) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) < 0 || !is_trusted(&peer))
		return -1;
	process = open_process(fd, peer.pid);
	return process >= 0 ? process : take_fd(&fd);
}

void mount_server_wait(int server)
{
	CLEANUP_FD int fd = server;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (fd < 0)
		return;
	if (poll(&p, 1, PATIENCE) == 0)
		log_debug("the process that served the mount has not ended yet");
}
