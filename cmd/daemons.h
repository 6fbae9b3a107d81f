/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The daemons that may serve mounts of this machine: the system's, and those of single mounts. */
#ifndef CMD_DAEMONS_H
#define CMD_DAEMONS_H

#include <jansson.h>

#include "lib/base/error.h"

/*
 * After an unmount: have them look now which mounts are gone. Waits, half a minute at most, for the
 * end of one that served nothing else. `socket` NULL: the usual place.
 */
void daemons_reap(const char *socket);

/*
 * What they say of themselves, as one: the system daemon's status, with the mounts of the others
 * beside its own. NULL without *err: there is none. The caller's reference.
 */
json_t *daemons_status(const char *socket, struct error **err);

#endif
