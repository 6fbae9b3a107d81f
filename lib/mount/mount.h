/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Mounting a converted image from files, by fsopen(2) and its relatives. */
#ifndef MOUNT_MOUNT_H
#define MOUNT_MOUNT_H

#include <stddef.h>

#include "lib/base/error.h"

/*
 * Mount the EROFS image in the file `bootstrap` with the files `devices`, in device-table
 * order, at `mountpoint`, read-only. Any number of devices, paths of any length (fsconfig
 * takes values of 255 bytes: longer ones go through /proc/self/fd). Linux 6.12.
 */
int mount_image(const char *bootstrap, char *const *devices, size_t n_devices,
	const char *mountpoint, struct error **err);

/* Unmount; refuses what is not the root of an EROFS mount, and symbolic links. */
int umount_image(const char *mountpoint, struct error **err);

/* The EROFS mounts of this mount namespace, in the order of mountinfo. */
struct mount_info {
	char *mountpoint;
	char *source;
};
int mount_list(struct mount_info **list, size_t *n, struct error **err);
void mount_list_free(struct mount_info *list, size_t n);

#endif
