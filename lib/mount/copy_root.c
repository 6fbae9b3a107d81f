// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/copy_root.h"

#include <errno.h>
#include <limits.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "lib/base/mem.h"

static int copy_xattr(int from, int to, const char *name, char *value, struct error **err)
{
	ssize_t size = fgetxattr(from, name, value, XATTR_SIZE_MAX);

	if (size < 0)
		return error_set(err, errno, "cannot read the root's xattr %s", name);
	if (fsetxattr(to, name, value, (size_t)size, 0) < 0) {
		error_set(err, errno, "cannot take over the root's xattr %s", name);
		return error_hint(err, "--upper DIR on a filesystem that takes it");
	}
	return 0;
}

static int copy_xattrs(int from, int to, struct error **err)
{
	CLEANUP_FREE char *names = xmalloc(XATTR_LIST_MAX);
	CLEANUP_FREE char *value = xmalloc(XATTR_SIZE_MAX);
	ssize_t size = flistxattr(from, names, XATTR_LIST_MAX);

	if (size < 0)
		return error_set(err, errno, "cannot list the root's xattrs");
	for (char *name = names; name < names + size; name += strlen(name) + 1)
		if (copy_xattr(from, to, name, value, err) < 0)
			return -1;
	return 0;
}

int copy_root(int from, int to, struct error **err)
{
	struct stat st;

	if (fstat(from, &st) < 0)
		return error_set(err, errno, "cannot look at the image's root");
	if (fchown(to, st.st_uid, st.st_gid) < 0)
		return error_set(err, errno, "cannot take over the root's owner");
	if (copy_xattrs(from, to, err) < 0)
		return -1;
	if (fchmod(to, st.st_mode & 07777) < 0 ||
		futimens(to, (struct timespec[]){ { .tv_nsec = UTIME_OMIT }, st.st_mtim }) < 0)
		return error_set(err, errno, "cannot take over the root's mode and time");
	return 0;
}
