// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/transport/fanotify_group.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/mount/context.h"

/* Not in Debian 12's headers. */
#ifndef FAN_PRE_ACCESS /* Linux 6.14 */
#define FAN_PRE_ACCESS 0x00100000
#endif
#ifndef FAN_MARK_IGNORE /* Linux 6.0 */
#define FAN_MARK_IGNORE 0x00000400
#endif

/* Without the unlimited queue an overflow lets reads through, as zeros. */
int fanotify_group_new(struct error **err)
{
	int group = fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_UNLIMITED_QUEUE |
					  FAN_UNLIMITED_MARKS | FAN_CLOEXEC | FAN_NONBLOCK,
		O_RDWR | O_CLOEXEC | O_LARGEFILE);
	int code = errno;

	if (group >= 0)
		return group;
	error_set(err, code, "the kernel gives no fanotify group");
	if (code == EPERM)
		return mount_need_root(err);
	if (code == ENOSYS || code == EINVAL)
		return error_hint(err, "a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS, or "
				       "another --transport");
	return error_hint(err, "more of them: sysctl fs.fanotify.max_user_groups");
}

static int explain_mark(struct error **err, int code)
{
	char release[KERNEL_RELEASE_MAX];

	switch (code) {
	case EINVAL:
		if (kernel_before(6, 14))
			return error_hint(err,
				"Linux 6.14 or later (this is %s), or another --transport",
				kernel_release(release));
		return error_hint(err, "a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS, or "
				       "another --transport");
	case EOPNOTSUPP:
	case ENODEV:
	case EXDEV:
	case EISDIR: /* O_TMPFILE where it is not known */
		return error_hint(err, "a --store on ext4, XFS or Btrfs, or another --transport");
	case EPERM:
		return mount_need_root(err);
	default:
		return -1;
	}
}

int fanotify_group_mark(int group, int fd, const char *path, struct error **err)
{
	int code;

	if (fanotify_mark(group, FAN_MARK_ADD, FAN_PRE_ACCESS, fd, NULL) == 0)
		return 0;
	code = errno;
	error_set(err, code, "the kernel raises no events for reads of %s", path);
	return explain_mark(err, code);
}

void fanotify_group_unmark(int group, int fd, const char *path)
{
	if (fanotify_mark(group, FAN_MARK_REMOVE, FAN_PRE_ACCESS, fd, NULL) < 0 && errno != ENOENT)
		log_warn("reads of %s go on to raise events: error %d", path, errno);
}

int fanotify_group_check_dir(int group, const char *dir, struct error **err)
{
	CLEANUP_FD int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int code = errno;

	if (fd < 0) {
		error_set(err, code, "cannot make a file in %s", dir);
		return explain_mark(err, code);
	}
	if (fanotify_group_mark(group, fd, dir, err) < 0)
		return -1;
	fanotify_group_unmark(group, fd, dir);
	return 0;
}

int fanotify_group_own_mount(int group, const char *dir, struct error **err)
{
	CLEANUP_FD int mount =
		open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_NO_AUTOMOUNT);
	int code = errno, fd;

	if (mount < 0) {
		error_set(err, code, "cannot make a mount of our own of %s", dir);
		return code == EPERM ? mount_need_root(err) : -1;
	}
	if (fanotify_mark(group,
		    FAN_MARK_ADD | FAN_MARK_MOUNT | FAN_MARK_IGNORE | FAN_MARK_IGNORED_SURV_MODIFY,
		    FAN_PRE_ACCESS, mount, ".") < 0) {
		code = errno;
		error_set(err, code, "the kernel raises events for our own reads in %s", dir);
		return explain_mark(err, code);
	}
	/* which keeps the mount, once the other is closed */
	fd = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_set(err, errno, "cannot open %s", dir) : fd;
}
