/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The kernel's overlayfs, with the options that a container root wants. */
#ifndef MOUNT_OVERLAY_H
#define MOUNT_OVERLAY_H

#include "lib/base/error.h"

/* Directories, open for reading; the paths are what mountinfo shows. */
struct overlay {
	int lower, upper, work;
	const char *upper_path, *work_path;
	const char *source; /* at most 255 bytes */
};

/*
 * A descriptor of the mount, which is nowhere yet; -1 with *err, whose code is EBUSY when
 * another mount uses the upper directory, in whichever mount namespace.
 */
int overlay_mount(const struct overlay *o, struct error **err);

#endif
