/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A FUSE filesystem of this process and of the one that comes after it: /dev/fuse is kept (keep.h),
 * and what the kernel said when the filesystem began, so that libfuse can go on with it. What was
 * read from /dev/fuse and not answered is asked for again (FUSE_NOTIFY_RESEND, Linux 6.9). As long
 * as somebody keeps /dev/fuse, readers wait; then they get errors.
 *
 * Nodes must be the same in each process, and nothing may depend on how often one was looked up.
 * Reads of complete files do not bypass us: passthrough needs a libfuse newer than 3.14.
 */
#ifndef SERVE_FUSE_CONNECTION_H
#define SERVE_FUSE_CONNECTION_H

#include "lib/base/error.h"
#include "lib/serve/holder/keep.h"
#include "lib/serve/transport/fuse_pending.h"

struct fuse_connection;

struct fuse_connection_spec {
	const char *name; /* in keep; what is kept with it is called NAME.init and NAME.mount */
	const char *source; /* what mountinfo shows, if it comes to be mounted somewhere */
	unsigned
		attributes; /* of the mount, beside being read-only: MOUNT_ATTR_... of fsmount(2) */
	/* The mount is kept, too; else it ends when it is unmounted everywhere. Its root's
	 * attributes must then be answered as good for ever. */
	bool keep_mount;
	/* .init is called for each process anew, and must ask for the same: the kernel has heard
	 * only the first. */
	const struct fuse_lowlevel_ops *operations;
	void *userdata; /* fuse_req_userdata() */
	unsigned threads; /* that answer, at most (fuse_servers.h) */
};

/*
 * Go on with what was kept under the name, or make a filesystem anew. *mount becomes a descriptor
 * of the mount, which is nowhere, and the caller's; -1 when it is not kept and somebody has it.
 */
struct fuse_connection *fuse_connection_open(
	struct keep *keep, const struct fuse_connection_spec *spec, int *mount, struct error **err);

/* Begin to answer, first what a former process has left. A mount that is to be kept is so from now
 * on, with all else. */
int fuse_connection_start(struct fuse_connection *c, struct error **err);

/*
 * What the kernel has in its page cache of a node's data goes. Reads of it that are under way end
 * before that, so they must not wait. Before the start it does nothing: all is as the former
 * process has left it.
 */
void fuse_connection_drop_data(struct fuse_connection *c, fuse_ino_t node);

/* Requests that wait, for fuse_pending_begin(). */
struct fuse_pendings *fuse_connection_pendings(const struct fuse_connection *c);

/* It is unmounted everywhere, or was ended by force: nobody will ask any more. Noticed by the
 * threads. */
bool fuse_connection_is_gone(const struct fuse_connection *c);

/*
 * Ends its threads; requests that wait are left to the next process. What is kept stays, unless
 * the filesystem is gone. NULL is allowed.
 */
void fuse_connection_close(struct fuse_connection *c);

/* What is kept under a name, and is not to go on, ends. */
void fuse_connection_forget(struct keep *keep, const char *name);

#endif
