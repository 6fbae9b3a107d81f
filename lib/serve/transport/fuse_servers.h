/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The threads that answer a FUSE session. To be woken costs more than most answers: so a reader who
 * asks for one thing after the other has one thread to serve it, which looks again for a moment
 * before it sleeps. Others come when more is asked than it answers, or before it waits for a disk.
 */
#ifndef SERVE_FUSE_SERVERS_H
#define SERVE_FUSE_SERVERS_H

#include "lib/base/error.h"
#include "lib/serve/transport/fuse_pending.h"

struct fuse_servers;

/*
 * Begin to answer, with one thread, and later with `max` at most. The session's /dev/fuse becomes
 * non-blocking, also for the processes that it is shared with. `name` is for messages; copied.
 */
struct fuse_servers *fuse_servers_start(
	struct fuse_session *fuse, const char *name, unsigned max, struct error **err);

/* Until nobody can ask any more, or the session is told to end, by a signal, say. */
int fuse_servers_wait(struct fuse_servers *s, struct error **err);

/* It is unmounted everywhere, or was ended by force: nobody will ask any more. Noticed by the
 * threads. */
bool fuse_servers_are_gone(const struct fuse_servers *s);

/* Ends the threads, after what they answer right now. The session is left. NULL is allowed. */
void fuse_servers_stop(struct fuse_servers *s);

/*
 * Within an answer: is this one of those threads? Then it must call the other before it may wait
 * for a disk, so that somebody else hears requests.
 */
bool fuse_servers_have_me(void);
void fuse_servers_step_aside(void);

#endif
