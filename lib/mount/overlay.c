// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/overlay.h"

#include <errno.h>
#include <sys/mount.h>

#include "lib/mount/context.h"

static const struct context_type overlayfs = { "overlay", "overlayfs", "CONFIG_OVERLAY_FS" };

/*
 * Said in full, because a kernel's defaults are its builder's:
 * index: hard links stay links when they are written to, and an upper directory that is in
 * use is refused instead of shared.
 * redirect_dir: rename(2) of a directory of the image works, where it else says EXDEV.
 * metacopy: chmod and chown do not copy (and, later, fetch) a file's data. Safe, since no one
 * but us makes its marks: images that bring some are refused.
 * xino: one st_dev for the whole tree, so that du -x, find -xdev and tar see one filesystem.
 * userxattr is not used: trusted.* attributes are out of reach for those in a container.
 */
static const char *const options[][2] = {
	{ "index", "on" },
	{ "redirect_dir", "on" },
	{ "metacopy", "on" },
	{ "xino", "on" },
};

static int tell_all(struct context *c, const struct overlay *o, struct error **err)
{
	if (context_string(c, "source", o->source, err) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
		if (context_string(c, options[i][0], options[i][1], err) < 0)
			return -1;
	if (context_fd(c, "lowerdir+", o->lower, "", err) < 0 ||
		context_fd(c, "upperdir", o->upper, o->upper_path, err) < 0)
		return -1;
	return context_fd(c, "workdir", o->work, o->work_path, err);
}

static int create(struct context *c, const struct overlay *o, struct error **err)
{
	int code;

	if (fsconfig(c->fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		return 0;
	code = errno;
	if (code == EBUSY) {
		error_set(err, code, "%s is in use by another mount", o->upper_path);
		return error_hint(err, "another directory, or `erofs-convert umount` first");
	}
	context_refused(c, code, "the kernel does not put an overlay on the image", err);
	if (code == ESTALE) /* what lies below, or its own origin, is not what it notes */
		return error_hint(err, "a new directory: a copy of the changes cannot be used");
	if (code == EPERM)
		return mount_need_root(err);
	return error_hint(err, "`dmesg | tail` for the reason; not every filesystem can hold "
			       "the changes");
}

int overlay_mount(const struct overlay *o, struct error **err)
{
	CLEANUP_CONTEXT struct context c = CONTEXT_NONE;

	if (context_begin(&c, &overlayfs, err) < 0 || tell_all(&c, o, err) < 0 ||
		create(&c, o, err) < 0)
		return -1;
	return context_mount(&c, 0, err);
}
