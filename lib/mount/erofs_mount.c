// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/erofs_mount.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "lib/base/mem.h"
#include "lib/mount/context.h"

#define SPARE_FDS 16

static const struct context_type erofs = { "erofs", "EROFS", "CONFIG_EROFS_FS" };

/*
 * Each path that is too long keeps a descriptor open: 127 of them and more must not fail at
 * the usual soft limit. The process raises it for itself only.
 */
static int make_room_for_fds(size_t n, struct error **err)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= n + SPARE_FDS)
		return 0;
	if (r.rlim_max < n + SPARE_FDS) {
		error_set(err, 0, "%zu files must be open at once, %ju are allowed", n,
			(uintmax_t)r.rlim_max);
		return error_hint(err, "a layout whose path is shorter, or a higher `ulimit -Hn`");
	}
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r) < 0)
		return error_set(err, errno, "cannot raise the limit of open files");
	return 0;
}

static int tell_all(struct context *c, const struct mount_request *r, struct error **err)
{
	size_t n_long = strlen(r->bootstrap) > CONTEXT_VALUE_MAX;

	for (size_t i = 0; i < r->n_devices; i++)
		n_long += strlen(r->devices[i]) > CONTEXT_VALUE_MAX;
	if (n_long && make_room_for_fds(n_long, err) < 0)
		return -1;
	if (context_path(c, "source", r->bootstrap, err) < 0)
		return -1;
	for (size_t i = 0; i < r->n_devices; i++)
		if (context_path(c, "device", r->devices[i], err) < 0)
			return -1;
	return context_flag(c, "ro", err);
}

/* What would make it possible, as far as the errno tells (seen on Linux 6.1 to 6.18). */
static int explain_create(struct error **err, int code)
{
	char release[KERNEL_RELEASE_MAX];

	switch (code) {
	case ENOTBLK:
		if (kernel_before(6, 12))
			return error_hint(err,
				"Linux 6.12 or later: %s mounts EROFS from block devices only",
				kernel_release(release));
		return error_hint(err, "a layout, or --store, on a disk filesystem such as ext4, "
				       "XFS or Btrfs (tmpfs and overlayfs cannot back a mount), "
				       "and a kernel with CONFIG_EROFS_FS_BACKED_BY_FILE");
	case EPERM:
	case EACCES:
		return mount_need_root(err);
	case EOPNOTSUPP:
		return error_hint(err, "a newer kernel: %s does not know all features of the image",
			kernel_release(release));
	case EINVAL:
		return error_hint(err, "`dmesg | tail` for the reason; the filesystem of the "
				       "layout may not be able to back a mount");
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return error_hint(err, "again when fewer files are open and more memory is free");
	case EUCLEAN: /* EFSCORRUPTED */
	case EBADMSG: /* EFSBADCRC */
		return error_hint(err, "`erofs-convert check` for what is damaged, and "
				       "`dmesg | tail` for what the kernel saw");
	default:
		return error_hint(err, "`dmesg | tail` for what the kernel saw");
	}
}

static int create(struct context *c, struct error **err)
{
	int code;

	if (fsconfig(c->fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		return 0;
	code = errno;
	if (code == ENOTBLK) /* "Block device required" would send people the wrong way */
		context_refused(c, 0, "the kernel does not mount EROFS from files here", err);
	else
		context_refused(c, code, "the kernel does not mount the image", err);
	return explain_create(err, code);
}

int erofs_mount_check(struct error **err)
{
	CLEANUP_CONTEXT struct context c = CONTEXT_NONE;

	return context_begin(&c, &erofs, err);
}

int erofs_mount(const struct mount_request *request, struct error **err)
{
	CLEANUP_CONTEXT struct context c = CONTEXT_NONE;

	if (context_begin(&c, &erofs, err) < 0 || tell_all(&c, request, err) < 0 ||
		create(&c, err) < 0)
		return -1;
	return context_mount(&c,
		MOUNT_ATTR_RDONLY | (request->untrusted ? MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV : 0),
		err);
}
