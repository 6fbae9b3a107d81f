/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The other end of the control socket (control_message.h). */
#ifndef CONTROL_CLIENT_H
#define CONTROL_CLIENT_H

#include "lib/serve/control/control_message.h"

/*
 * Connect to the daemon at `path`: a descriptor for one request, which takes it over; -1 with *err.
 * Its code is ENOENT or ECONNREFUSED where no daemon is. One that is neither root's nor this user's
 * is refused: it would be told secrets.
 */
int control_connect(const char *path, struct error **err);

/* Is the error that of a place without a daemon? */
bool control_is_absent(const struct error *e);

/*
 * Ask for a mount and wait for it, until the daemon ends or the user interrupts (which ends what
 * the daemon has begun). The answer's descriptor is the caller's.
 */
int control_mount(
	int fd, const struct service_request *r, struct service_answer *a, struct error **err);

/* The answer to ping, status or reap, for half a minute at most; the caller's reference. */
json_t *control_ask(int fd, enum control_verb verb, struct error **err);

#endif
