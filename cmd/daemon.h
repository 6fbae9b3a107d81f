/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A verb that goes on in the background once what was asked for is there. */
#ifndef CMD_DAEMON_H
#define CMD_DAEMON_H

#include <stdbool.h>

struct daemon {
	int ready_fd; /* to whom waits for us; -1: in the foreground */
};

/*
 * Fork, before there are threads. The new process returns false and does the work; stdout and
 * stderr are still the caller's. The old one waits until that says that it is ready, or ends, and
 * returns true with the exit status in *status. Signals that interrupt_catch() knows are passed
 * on.
 */
bool daemon_fork(struct daemon *d, int *status);

/*
 * It is there: from now on nobody's child, in "/", with nothing to say, unless in the foreground.
 * `status` is what the caller ends with. -1 when nobody waits any more.
 */
int daemon_ready(struct daemon *d, int status);

#endif
