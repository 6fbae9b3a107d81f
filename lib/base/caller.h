/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Doing something with the rights of who asked for it, who is not this process. */
#ifndef BASE_CALLER_H
#define BASE_CALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/base/error.h"

struct caller {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary */
	size_t n_groups;
};

/* Who is at the other end of a connected Unix socket (SO_PEERCRED, SO_PEERGROUPS). */
int caller_of_socket(struct caller *c, int socket, struct error **err);
void caller_copy(struct caller *to, const struct caller *from);
void caller_free(struct caller *c); /* what it holds */
#define CLEANUP_CALLER CLEANUP(caller_free)

/* May it do what this process may? It is root, or this process's own user. */
bool caller_is_trusted(const struct caller *c);

/*
 * This thread opens files with the caller's rights (setfsuid(2), setfsgid(2), its groups; the
 * capabilities that override permissions go with them) until caller_leave(). Other threads keep
 * theirs. For a caller that is this process's user nothing changes.
 */
int caller_enter(const struct caller *c, struct error **err);
void caller_leave(const struct caller *c);

#endif
