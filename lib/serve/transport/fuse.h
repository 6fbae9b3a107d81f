/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The `fuse` transport: the image's tree as a FUSE filesystem, read by us. Any kernel, any user;
 * what stat(2) and its like show is what the kernel's EROFS would show of the same image.
 */
#ifndef SERVE_FUSE_H
#define SERVE_FUSE_H

#include "lib/serve/session.h"

struct fuse_mount;

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

/* No reader waits any more: session_close() has answered them. It is unmounted, if it still is
 * mounted. NULL is allowed. */
void fuse_mount_end(struct fuse_mount *m);

static inline void cleanup_fuse_mount_(struct fuse_mount **m)
{
	fuse_mount_end(*m);
}
#define CLEANUP_FUSE_MOUNT CLEANUP(cleanup_fuse_mount_)

#endif
