/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A directory that is filled under a hidden name beside the one it will get:
 * PARENT/.NAME.erofs-convert-XXXXXX, under flock() as long as its owner lives.
 */
#ifndef IMAGE_HIDDEN_DIR_H
#define IMAGE_HIDDEN_DIR_H

#include <stdbool.h>

#include "lib/base/error.h"

struct hidden_dir {
	char *path;
	int fd;
};

int hidden_dir_make(struct hidden_dir *h, const char *parent, const char *name, struct error **err);

/*
 * Give it its name. 0, or an errno value: EEXIST when the name is taken, EINVAL when the
 * filesystem cannot rename without replacing.
 */
int hidden_dir_rename(struct hidden_dir *h, const char *to);

/* Remove it and all that is in it, unless it was renamed. */
void hidden_dir_free(struct hidden_dir *h);

/* Remove what killed processes left of PARENT/NAME. Never an error. */
void hidden_dir_sweep(const char *parent, const char *name);

/* For tests: do as on a filesystem that cannot rename without replacing. */
void hidden_dir_test_refuse_rename(bool refuse);

#define CLEANUP_HIDDEN_DIR CLEANUP(hidden_dir_free)
#define HIDDEN_DIR_NONE	   ((struct hidden_dir){ .fd = -1 })

#endif
