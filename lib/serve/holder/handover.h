/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * How holder and worker hand descriptors to each other: at a start as a service manager does it
 * ($LISTEN_FDS, $LISTEN_FDNAMES, $LISTEN_PID; sd_listen_fds(3)), later in messages over a
 * SOCK_SEQPACKET pair. No allocation here: the holder uses it.
 */
#ifndef HOLDER_HANDOVER_H
#define HOLDER_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/serve/holder/keep.h"

#define HANDOVER_FIRST 3 /* sd_listen_fds(3) */
/* All names together: they become one string of the environment, which execve(2) limits to
 * 128 KiB. */
#define HANDOVER_NAMES_MAX (96 << 10)

#define HANDOVER_HOLDER	  "EROFS_CONVERT_HOLDER" /* a worker's end of the socket */
#define HANDOVER_ADOPT	  "EROFS_CONVERT_ADOPT" /* a new holder's: "SOCKET:PIDFD" */
#define HANDOVER_DEADLINE "EROFS_CONVERT_DEADLINE" /* seconds until a request gets EIO */
#define HANDOVER_PROGRAM  "EROFS_CONVERT_HOLDER_PROGRAM" /* instead of looking for it */

/* A name that only holder and worker know; names of callers do not begin with a dot. */
#define HANDOVER_WAKE ".wake" /* keep_requests_eventfd() */

/* How many descriptors this process was given, from HANDOVER_FIRST on. */
unsigned handover_count(bool check_pid);
/* The next of the names in $LISTEN_FDNAMES; cut to KEEP_NAME_MAX. *at begins as NULL. */
void handover_name(const char **at, char name[static KEEP_NAME_MAX + 1]);
/* Can it be handed over as it is? */
bool handover_name_is_valid(const char *name);

enum message_kind { MESSAGE_PUT, MESSAGE_DROP, MESSAGE_READY, MESSAGE_BYE, MESSAGE_ACK };

struct message {
	uint32_t kind;
	uint32_t serial; /* an ACK has that of its PUT or DROP */
	int32_t code; /* ACK: an errno value, or 0 */
	char name[KEEP_NAME_MAX + 1];
};

/* fd: goes with it, or -1. 0, or -1 with errno. */
int message_send(int socket, const struct message *m, int fd, int flags);
/* *fd: came with it, the caller's to close, or -1. 1, 0 when the other end is gone, -1 errno. */
int message_receive(int socket, struct message *m, int *fd, int flags);

#endif
