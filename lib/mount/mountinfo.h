/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Lines of /proc/self/mountinfo (proc(5)). */
#ifndef MOUNT_MOUNTINFO_H
#define MOUNT_MOUNTINFO_H

#include <stdbool.h>
#include <sys/types.h>

/* One line's fields, unescaped; they point into the line. */
struct mountinfo {
	dev_t dev; /* what stat(2) says of its directories */
	char *root; /* what of the filesystem is mounted: "/", or a path for a bind mount */
	char *mountpoint;
	char *fstype;
	char *source;
	char *options; /* of the superblock; these alone are still escaped */
	bool is_copy; /* it follows one, mostly of another namespace, that does not follow it */
};

/* Split a line in place. False when it is not in the form that proc(5) describes. */
bool mountinfo_parse(char *line, struct mountinfo *out);

/* The value of the superblock's option `key`, unescaped; the caller frees it. NULL: none. */
char *mountinfo_option(const struct mountinfo *m, const char *key);

/* Undo \040 and its like in place. */
void mountinfo_unescape(char *s);

#endif
