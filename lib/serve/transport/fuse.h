/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The `fuse` transport: the image's tree as a FUSE filesystem, read by us. Any kernel, any user;
 * what stat(2) and its like show is what the kernel's EROFS would show of the same image.
 */
#ifndef SERVE_FUSE_H
#define SERVE_FUSE_H

#include "lib/serve/session.h"

struct fuse_mount;
struct keep;

/* Can this process mount by FUSE, as far as can be said before? */
int fuse_check(struct error **err);

/*
 * Mount at `mountpoint`, an absolute path; `source` is what mountinfo shows. Root mounts as the
 * kernel's EROFS is mounted: for all users, with devices and setuid programs. Others get a mount of
 * their own, by fusermount3, or in a user namespace of theirs by mount(2).
 * session_close() comes before fuse_mount_end().
 */
struct fuse_mount *fuse_mount_begin(
	struct session *s, const char *mountpoint, const char *source, struct error **err);

/*
 * Answer until it is unmounted, or SIGINT, SIGTERM or SIGHUP comes, whose handlers it sets. Other
 * threads must have these signals blocked. -1 when /dev/fuse fails.
 */
int fuse_mount_serve(struct fuse_mount *m, struct error **err);

/*
 * For a daemon, as root: *mount becomes a descriptor of the mount, nowhere yet, the caller's to
 * place; `attributes` are MOUNT_ATTR_... of fsmount(2). What the next process needs to go on is
 * kept under `name`; in that process *mount becomes -1. fuse_mount_run() answers, on few threads.
 */
struct fuse_mount *fuse_mount_begin_detached(struct session *s, struct keep *keep, const char *name,
	const char *source, unsigned attributes, int *mount, struct error **err);
int fuse_mount_run(struct fuse_mount *m, struct error **err);

/* A daemon's is unmounted everywhere, or nobody has placed it and all have closed it. */
bool fuse_mount_is_gone(const struct fuse_mount *m);

/* What is kept for a mount that is not to go on; its readers get errors. */
void fuse_mount_forget(struct keep *keep, const char *name);

/*
 * It is unmounted, if it still is mounted and session_close() has answered its readers: no one may
 * wait any more. A daemon's stays mounted and its readers wait for the next process, unless it is
 * gone; session_close() comes after this. NULL is allowed.
 */
void fuse_mount_end(struct fuse_mount *m);

static inline void cleanup_fuse_mount_(struct fuse_mount **m)
{
	fuse_mount_end(*m);
}
#define CLEANUP_FUSE_MOUNT CLEANUP(cleanup_fuse_mount_)

#endif
