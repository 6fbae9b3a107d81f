/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The kernel's EROFS over fscache: what it reads, a daemon of cachefiles brings (Linux 5.19). */
#ifndef MOUNT_EROFS_ONDEMAND_H
#define MOUNT_EROFS_ONDEMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"

struct ondemand_mount {
	const char *fsid; /* the bootstrap's cookie */
	const char *domain; /* images that share blobs; kernels before 6.1 do without it */
	char *const *devices; /* cookies of the data blobs, in order */
	size_t n_devices;
	bool untrusted; /* no set-user-ID, no devices */
};

/* A descriptor (as O_PATH) of the mount, which is nowhere yet; -1 with *err. Waits for the daemon
 * to answer, so not on its thread. */
int erofs_mount_ondemand(const struct ondemand_mount *m, struct error **err);

#endif
