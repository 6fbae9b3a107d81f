/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The process behind a FUSE mount of ours, for who unmounts: it has work to do after that. */
#ifndef MOUNT_SERVER_H
#define MOUNT_SERVER_H

#include <sys/types.h>

#include "lib/base/error.h"

/* What mountinfo shows as the filesystem of these mounts. */
#define MOUNT_FUSE_SUBTYPE "erofs-convert"
#define MOUNT_FUSE_TYPE	   "fuse." MOUNT_FUSE_SUBTYPE

/* The device number of what is at `path`, without asking who serves it. -1 with errno. */
int mount_device(const char *path, dev_t *dev);

/*
 * As the server of the mount at `mountpoint`: can be found from now on, until this descriptor is
 * closed, or the process ends. -1 when it cannot.
 */
int mount_server_announce(const char *mountpoint);

/* Find the server, before unmounting: a descriptor, or -1; and wait until its process has ended,
 * for at most half a minute. Closes it. */
int mount_server_find(dev_t dev);
void mount_server_wait(int server);

#endif
