// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/mount.h"

#include <errno.h>
#include <fcntl.h>

#include "lib/base/log.h"
#include "lib/mount/context.h"
#include "lib/mount/erofs_mount.h"
#include "lib/mount/writable.h"

/* Opened before the kernel does any work: the place is the one that was looked at. */
static int open_mountpoint(const char *path, struct error **err)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT) {
		error_set(err, 0, "the mount point %s does not exist", path);
		return error_hint(err, "mkdir -p %s", path);
	}
	if (errno == ENOTDIR) {
		error_set(err, 0, "the mount point %s is not a directory", path);
		return error_hint(err, "an empty directory as the mount point");
	}
	return error_set(err, errno, "cannot look at the mount point %s", path);
}

int mount_check(const char *mountpoint, struct error **err)
{
	CLEANUP_FD int where = open_mountpoint(mountpoint, err);

	return where < 0 ? -1 : erofs_mount_check(err);
}

/* The files are asked about also when the kernel refuses them: that may be the reason. */
static int mount_right_files(const struct mount_request *r, struct error **err)
{
	CLEANUP_FD int mount = erofs_mount(r, err);
	struct error *why = NULL;

	if (!r->opened || r->opened(r->arg, &why) == 0)
		return take_fd(&mount);
	error_free(*err);
	*err = why;
	return -1;
}

int mount_image(const struct mount_request *r, struct error **err)
{
	CLEANUP_FD int where = open_mountpoint(r->mountpoint, err);
	CLEANUP_FD int mount = -1;

	if (where < 0)
		return -1;
	log_debug("mounting %s with %zu devices at %s", r->bootstrap, r->n_devices, r->mountpoint);
	mount = mount_right_files(r, err);
	if (mount < 0)
		return -1;
	if (r->writable)
		return writable_mount(r, mount, where, err);
	return mount_attach(mount, where, r->mountpoint, err);
}
