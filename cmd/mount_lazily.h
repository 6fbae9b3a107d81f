/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* mount, when the image is served by a process of ours that stays behind. */
#ifndef CMD_MOUNT_LAZILY_H
#define CMD_MOUNT_LAZILY_H

#include <stdbool.h>

#include "lib/image/platform.h"
#include "lib/image/source.h"
#include "lib/registry/registry.h"

enum prefetch { PREFETCH_NONE, PREFETCH_BACKGROUND, PREFETCH_ALL };

struct lazy_mount {
	const char *image, *mountpoint;
	const char *store; /* NULL: the default one */
	uint64_t store_limit; /* bytes; 0: no limit but the disk's */
	const struct platform *platform; /* NULL: this machine's */
	const struct registry_options *registry;
	enum prefetch prefetch;
	bool foreground; /* the process stays, and serves until it is unmounted */
	/* Say that it is there; an exit status. */
	int (*mounted)(const struct image_source *src, const char *mountpoint);
};

/* An exit status, with the error printed. */
int mount_lazily(const struct lazy_mount *m);

#endif
