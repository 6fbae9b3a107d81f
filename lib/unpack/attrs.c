// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * In the order that keeps what was set before: writing drops setuid bits and capabilities, a
 * new owner drops them too, and an ACL changes the mode.
 */
#include "config.h"

#include "lib/unpack/attrs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"

#define SET_IDS (S_ISUID | S_ISGID)

/* One inode. */
struct setting {
	struct attrs *a;
	int fd;
	const char *name;
	const struct bootstrap_inode *inode;
};

bool attrs_may_all(void)
{
	CLEANUP_FCLOSE FILE *map = fopen("/proc/self/uid_map", "re");
	uint64_t inside, outside, n;

	if (geteuid() != 0)
		return false;
	if (!map || fscanf(map, "%" SCNu64 " %" SCNu64 " %" SCNu64, &inside, &outside, &n) != 3)
		return true;
	return inside == 0 && outside == 0 && n >= UINT32_MAX;
}

/* What the system says to those who lack a privilege, or on a filesystem that lacks the thing. */
static bool is_refusal(int code)
{
	return code == EPERM || code == EACCES || code == EINVAL || code == EOPNOTSUPP ||
	       code == ENOSYS;
}

static int leave_out(
	struct setting *s, _Atomic uint64_t *count, const char *what, struct error **err)
{
	int code = errno;

	if (s->a->exact || !is_refusal(code))
		return error_set(err, code, "cannot set the %s", what);
	atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
	return 0;
}

/* 1 when the file has its owner now, 0 when that was left out. */
static int set_owner(struct setting *s, struct error **err)
{
	uid_t uid = s->inode->inode.uid;
	gid_t gid = s->inode->inode.gid;
	int rc;

	if (uid > EROFS_ID_MAX || gid > EROFS_ID_MAX) /* chown(2) takes -1 for "as it is" */
		return error_set(err, 0, "uid or gid 4294967295");
	rc = s->name ? fchownat(s->fd, s->name, uid, gid, AT_SYMLINK_NOFOLLOW)
		     : fchown(s->fd, uid, gid);
	if (rc == 0)
		return 1;
	return leave_out(s, &s->a->left.owners, "owner", err);
}

static int set_mode(struct setting *s, bool owned, struct error **err)
{
	mode_t mode = s->inode->inode.mode, bits = mode & 07777;
	int rc;

	if (S_ISLNK(mode)) /* Linux knows no modes of symlinks */
		return 0;
	if (!owned && S_ISREG(mode)) /* not to run as somebody else than meant */
		bits &= (mode_t)~SET_IDS;
	rc = s->name ? fchmodat(s->fd, s->name, bits, AT_SYMLINK_NOFOLLOW) : fchmod(s->fd, bits);
	return rc == 0 ? 0 : leave_out(s, &s->a->left.modes, "mode", err);
}

static int set_time(struct setting *s, struct error **err)
{
	const struct erofs_inode *i = &s->inode->inode;
	const struct timespec times[2] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = (time_t)i->mtime, .tv_nsec = (long)i->mtime_nsec },
	};
	struct stat st;
	int rc;

	rc = s->name ? utimensat(s->fd, s->name, times, AT_SYMLINK_NOFOLLOW)
		     : futimens(s->fd, times);
	if (rc < 0)
		return leave_out(s, &s->a->left.times, "modification time", err);
	if (i->mtime == (int32_t)i->mtime)
		return 0;
	/* filesystems take the nearest time that they have, and say nothing */
	rc = s->name ? fstatat(s->fd, s->name, &st, AT_SYMLINK_NOFOLLOW) : fstat(s->fd, &st);
	if (rc == 0 && st.st_mtim.tv_sec != (time_t)i->mtime)
		atomic_fetch_add_explicit(&s->a->left.times, 1, memory_order_relaxed);
	return 0;
}

static int set_one_xattr(const struct setting *s, const char *xattr, const void *value, size_t len)
{
	CLEANUP_FREE char *path = NULL;

	if (!s->name)
		return fsetxattr(s->fd, xattr, value, len, 0);
	path = xasprintf("/proc/self/fd/%d/%s", s->fd, s->name);
	return lsetxattr(path, xattr, value, len, 0);
}

static int set_xattr(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct setting *s = arg;
	CLEANUP_FREE char *name = xasprintf("%s%.*s", x->prefix, (int)x->suffix_len, x->suffix);
	CLEANUP_FREE char *shown = NULL, *what = NULL;
	mode_t mode = s->inode->inode.mode;

	if (set_one_xattr(s, name, x->value, x->value_len) == 0)
		return 0;
	/* user xattrs are for files and directories; whoever mounts the image cannot read them */
	if (errno == EPERM && !S_ISREG(mode) && !S_ISDIR(mode) && !strncmp(name, "user.", 5))
		return 0;
	shown = text_printable(name, strlen(name));
	what = xasprintf("xattr %s", shown);
	return leave_out(s, &s->a->left.xattrs, what, err);
}

int attrs_set(struct attrs *a, int fd, const char *name, const struct bootstrap_inode *inode,
	struct error **err)
{
	struct setting s = { a, fd, name, inode };
	int owned = set_owner(&s, err);

	if (owned < 0 || bootstrap_xattrs(a->bootstrap, inode, set_xattr, &s, err) < 0 ||
		set_mode(&s, owned, err) < 0)
		return -1;
	return set_time(&s, err);
}
