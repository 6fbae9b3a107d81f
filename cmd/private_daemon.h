/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A daemon (`serve --private`) for one mount, where no system daemon answers. */
#ifndef CMD_PRIVATE_DAEMON_H
#define CMD_PRIVATE_DAEMON_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/error.h"

struct private_daemon {
	char *dir; /* its own: the socket, secrets */
	char *socket;
	pid_t pid; /* our child */
	int errors; /* what it says on stderr */
	pthread_t reader;
	int stop; /* an eventfd: the reader ends */
	char said[8192]; /* the end of it */
	size_t n_said;
};

struct private_options {
	const char *store; /* or NULL */
	uint64_t store_limit; /* 0: none said */
};

/*
 * Start it, detached from this session, and wait until it answers: a connection to it, or -1 with
 * *err, which has the daemon's own words, and nothing left behind.
 */
int private_daemon_start(
	struct private_daemon *d, const struct private_options *o, struct error **err);

/*
 * With a mount it stays; without one (`mounted` false) it ends by itself, or if the user interrupts
 * because it is told to, which is waited for.
 * Releases what `d` holds.
 */
void private_daemon_leave(struct private_daemon *d, bool mounted);

#endif
