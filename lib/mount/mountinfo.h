/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Lines of /proc/self/mountinfo (proc(5)). */
#ifndef MOUNT_MOUNTINFO_H
#define MOUNT_MOUNTINFO_H

#include <stdbool.h>

/* One line's fields, unescaped; they point into the line. */
struct mountinfo {
	char *root; /* what of the filesystem is mounted: "/", or a path for a bind mount */
	char *mountpoint;
	char *fstype;
	char *source;
};

/* Split a line in place. False when it is not in the form that proc(5) describes. */
bool mountinfo_parse(char *line, struct mountinfo *out);

/* Undo \040 and its like in place. */
void mountinfo_unescape(char *s);

#endif
