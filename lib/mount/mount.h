/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Mounting a converted image from files, by fsopen(2) and its relatives. */
#ifndef MOUNT_MOUNT_H
#define MOUNT_MOUNT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"

/*
 * The EROFS image in the file `bootstrap` with the files `devices`, in device-table order. Any
 * number of devices, paths of any length. Linux 6.12.
 */
struct mount_request {
	const char *bootstrap;
	char *const *devices;
	size_t n_devices;
	const char *mountpoint;
	bool writable; /* an overlay on top: lib/mount/writable.h */
	bool untrusted; /* no set-user-ID, no devices */
	const char *upper; /* where its changes are kept, or NULL: until umount */
	const struct digest *digest; /* of the bootstrap; only for writable */
	/*
	 * Asked when the kernel has opened the files, or could not, and before anybody sees them:
	 * are they the right ones? NULL: nobody asks.
	 */
	int (*opened)(const void *arg, struct error **err);
	const void *arg;
};

/*
 * Before long work for a mount: is the mount point one, and may we ask the kernel for EROFS? Not
 * all that may fail later.
 */
int mount_check(const char *mountpoint, struct error **err);

/* Mount it at its mount point. After an error nothing is mounted or left on disk. */
int mount_image(const struct mount_request *request, struct error **err);

/*
 * Unmount, and remove the changes that are not kept; refuses what mount_image() has not made
 * (other EROFS mounts are let pass) and symbolic links.
 */
int umount_image(const char *mountpoint, struct error **err);

/* The EROFS mounts of this mount namespace, in the order of mountinfo. */
struct mount_info {
	char *mountpoint;
	char *source;
	bool writable;
};
int mount_list(struct mount_info **list, size_t *n, struct error **err);
void mount_list_free(struct mount_info *list, size_t n);

#endif
