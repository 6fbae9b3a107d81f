/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The directories from the root to where the walk stands, open. Only single names are ever
 * handed to the kernel, relative to the directory above, and no symlink is followed; a tree may
 * be deeper than paths or descriptors reach.
 */
#ifndef UNPACK_DIRFDS_H
#define UNPACK_DIRFDS_H

#include <stddef.h>
#include <sys/types.h>

#include "lib/base/error.h"

struct dirfds {
	struct dirfds_level {
		int fd; /* -1: closed for now */
		dev_t dev;
		ino_t ino;
	} * v;
	size_t n, cap;
	size_t first_open; /* those above have been closed */
};

#define DIRFDS_EMPTY ((struct dirfds){ 0 })

/* The root; takes the descriptor over. */
int dirfds_start(struct dirfds *d, int root, struct error **err);
void dirfds_end(struct dirfds *d);

/* Go down into a directory. */
int dirfds_enter(struct dirfds *d, const char *name, struct error **err);

/* Go up; the descriptor of the directory that was left is the caller's now. -1 on failure. */
int dirfds_leave(struct dirfds *d, struct error **err);

/* The directory entered last. */
static inline int dirfds_top(const struct dirfds *d)
{
	return d->v[d->n - 1].fd;
}

/* Open the directory that the first `len` bytes of `path` lead to, below `root`. */
int dirfds_open_path(int root, const char *path, size_t len, struct error **err);

#endif
