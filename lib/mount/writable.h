/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A writable tree: overlayfs with the EROFS mount below and a directory for the changes on
 * top. The EROFS mount itself is nowhere to be seen; the overlay alone keeps it.
 */
#ifndef MOUNT_WRITABLE_H
#define MOUNT_WRITABLE_H

#include "lib/bootstrap/read.h"
#include "lib/mount/mount.h"

/* The "source" of these mounts in mountinfo: this, then the bootstrap's path (or digest). */
#define WRITABLE_SOURCE "erofs-convert:"

/*
 * Fails, naming the first path, when the tree has what overlayfs would take for its own
 * marks: character devices 0:0 (whiteouts) and trusted.overlay.* xattrs.
 */
int writable_check(const struct bootstrap *tree, struct error **err);

/* `lower` is the EROFS mount, nowhere yet; `where` the open mount point. */
int writable_mount(const struct mount_request *request, int lower, int where, struct error **err);

#endif
