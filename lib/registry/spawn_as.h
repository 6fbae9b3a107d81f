/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A program that is waited for; a daemon may start it as another user. */
#ifndef REGISTRY_SPAWN_AS_H
#define REGISTRY_SPAWN_AS_H

#include <sys/types.h>

#include "lib/base/caller.h"

struct spawn_request {
	const struct caller *caller; /* NULL: as this process */
	char *const *argv;
	int fds[3]; /* standard input, output, error */
	unsigned seconds; /* for which it is waited: somewhat later it is ended in any case */
};

/*
 * Run argv[0], found by PATH, in a process group of its own; it does not outlive the calling
 * thread, which waits for it. As a `caller`: with that user's rights and groups, no capabilities,
 * in "/", and with nothing else open. 0, or the errno value of what failed.
 */
int spawn_as(pid_t *pid, const struct spawn_request *q);

#endif
