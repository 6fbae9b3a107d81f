/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inside of the tar index: tar_scan.c reads headers, tar_index.c orders and finds. */
#ifndef IMAGE_TAR_SCAN_H
#define IMAGE_TAR_SCAN_H

#include "lib/image/tar_index.h"

/* Append the members in the order of the tar. What was appended stays on error. */
int tar_scan(struct tar_index *x, int fd, uint64_t size, struct error **err);

/* ".." is resolved by the letter, as Go's path.Clean() does. NULL when it leads out. */
char *tar_name_clean(const char *name);

/* "member NAME: what". Returns -1. */
int tar_member_error(const char *name, const char *what, struct error **err);

#endif
