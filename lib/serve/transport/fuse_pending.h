/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A request of FUSE that is answered later, by whoever comes first: the engine, a signal that ends
 * the reader, or the end of this process, which leaves it to the next one.
 */
#ifndef SERVE_FUSE_PENDING_H
#define SERVE_FUSE_PENDING_H

#define FUSE_USE_VERSION 312 /* libfuse 3.12: a bound on its threads */

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "lib/serve/transport/fuse_late.h"

struct fuse_pendings;

/* Embedded in what waits. */
struct fuse_pending {
	fuse_req_t req;
	/* inside: */
	int state;
	struct late_read read;
	uint64_t since; /* milliseconds */
	struct fuse_pendings *all;
	TAILQ_ENTRY(fuse_pending) of_all;
};

struct fuse_pendings *fuse_pendings_new(void);

/*
 * Nobody answers those that are left: the kernel will ask again (FUSE_NOTIFY_RESEND), or tell the
 * readers that nobody is there. Returns when no answer is under way. After the session's threads
 * have ended, before it is destroyed. NULL is allowed.
 */
void fuse_pendings_drop(struct fuse_pendings *all);

/*
 * On the session's thread that has the request, to read these bytes. From now on a dying reader is
 * let go.
 */
void fuse_pending_begin(struct fuse_pendings *all, struct fuse_pending *p, fuse_req_t req,
	fuse_ino_t node, uint64_t offset, size_t len);

/*
 * On the same thread, once all has been asked for, while *p is there: a read that must not wait
 * once more (fuse_late.h) and is not answered yet, is answered with the error.
 */
void fuse_pending_hurry(struct fuse_pending *p);

/*
 * Once for each: true, then the caller answers p->req and calls fuse_pending_end(); or somebody
 * else has answered. In both cases *p is the caller's alone after that.
 */
bool fuse_pending_claim(struct fuse_pending *p);
void fuse_pending_refuse(struct fuse_pending *p, int error); /* an answer */
void fuse_pending_end(struct fuse_pending *p);

#endif
