/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The kernel's EROFS, asked to mount an image read-only. */
#ifndef MOUNT_EROFS_MOUNT_H
#define MOUNT_EROFS_MOUNT_H

#include "lib/mount/mount.h"

/* Has the kernel EROFS, and may this process mount it? */
int erofs_mount_check(struct error **err);

/* A descriptor (as O_PATH) of the mount, which is nowhere yet; -1 with *err. */
int erofs_mount(const struct mount_request *request, struct error **err);

#endif
