/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Where the changes of a writable mount lie: DIR/upper and DIR/work, and DIR/image, which
 * holds the digest of the bootstrap that they are changes of. DIR is the user's, and kept, or
 * one of ours, that umount removes.
 */
#ifndef MOUNT_UPPER_H
#define MOUNT_UPPER_H

#include <stdbool.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"

#define UPPER_STATE_DIR	    "/var/lib/erofs-convert"
#define UPPER_TEMPORARY_DIR UPPER_STATE_DIR "/rw"

struct upper {
	char *dir; /* absolute */
	char *upper_path, *work_path;
	int dir_fd, upper_fd, work_fd;
	bool made_dir; /* by us, just now */
	bool fresh; /* holds no changes of an earlier mount */
	bool keep; /* else what we have made goes with upper_end() */
};

/*
 * Make or find them in `dir`, or, when that is NULL, in a new directory of ours. What is fresh
 * takes mode, owner, xattrs and mtime of the directory `root`. Refuses changes of another
 * image, and filesystems that cannot hold them.
 */
int upper_begin(
	struct upper *u, const char *dir, const struct digest *image, int root, struct error **err);

/* Closes; unless `keep` is set, removes what upper_begin() has made. */
void upper_end(struct upper *u);

#define CLEANUP_UPPER CLEANUP(upper_end)
#define UPPER_NONE    ((struct upper){ .dir_fd = -1, .upper_fd = -1, .work_fd = -1 })

/* Is that the upper directory in a directory of ours, which no one wants to keep? */
bool upper_is_temporary(const char *upper_path);

/* Remove such a one; when the kernel still uses it for a mount somewhere else, it stays for now. */
int upper_discard(const char *upper_path, struct error **err);

/* Remove what stayed so, and is in use no more. */
void upper_sweep(void);

#endif
