/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Telling the service manager: datagrams to $NOTIFY_SOCKET (sd_notify(3)). No allocation here. */
#ifndef HOLDER_NOTIFY_H
#define HOLDER_NOTIFY_H

#include <stdbool.h>

/* Is there one? */
bool notify_is_possible(void);

/* Send the assignments; a descriptor goes along unless it is -1. 0, also when nobody listens, or -1
 * with errno. */
int notify_send(const char *text, int fd);

/* Wait until the manager has read all that was sent, at most that long (BARRIER=1, systemd 246):
 * a message whose sender is dead when it is read counts for nothing. 0, or -1 with errno. */
int notify_barrier(int milliseconds);

#endif
