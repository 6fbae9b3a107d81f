/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A line and, beside it, a descriptor, over a Unix stream socket. */
#ifndef CONTROL_LINE_H
#define CONTROL_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"

#define LINE_PATIENT (-1) /* no limit but the end of the other side, or the user's interrupt */

struct line {
	char *bytes; /* with the newline */
	size_t len, cap;
	int fd; /* that came beside it, close-on-exec; -1: none. More than one are closed. */
};
#define LINE_NONE ((struct line){ .fd = -1 })

/* Until the newline: at most `max` bytes within `ms` milliseconds. What follows is not read on. */
int line_receive(int socket, struct line *l, size_t max, int ms, struct error **err);

/* `fd` -1: nothing beside it. */
int line_send(int socket, const char *bytes, size_t len, int fd, int ms, struct error **err);

void line_free(struct line *l); /* wiped */
#define CLEANUP_LINE CLEANUP(line_free)

#endif
