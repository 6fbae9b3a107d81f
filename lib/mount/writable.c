// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/writable.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/walk.h"
#include "lib/mount/context.h"
#include "lib/mount/overlay.h"
#include "lib/mount/upper.h"

#define OVERLAY_XATTR "overlay."

static int check_xattr(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	(void)arg;
	if (strcmp(x->prefix, "trusted.") != 0 || x->suffix_len < strlen(OVERLAY_XATTR) ||
		memcmp(x->suffix, OVERLAY_XATTR, strlen(OVERLAY_XATTR)) != 0)
		return 0;
	return error_set(err, 0, "overlayfs would obey its xattr trusted.%.*s", (int)x->suffix_len,
		x->suffix);
}

static int check_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	const struct erofs_inode *i = &entry->inode->inode;

	if (entry->again)
		return 0;
	if (S_ISCHR(i->mode) && !i->u)
		return error_set(
			err, 0, "overlayfs would take this character device 0:0 for a whiteout");
	return bootstrap_xattrs(arg, entry->inode, check_xattr, NULL, err);
}

int writable_check(const struct bootstrap *tree, struct error **err)
{
	struct bootstrap_walker walker = { .each = check_entry, .arg = (void *)tree };

	if (bootstrap_walk(tree, &walker, err) == 0)
		return 0;
	return error_hint(err, "mounting it without --rw");
}

/* What mountinfo shows: the path where it fits. */
static char *new_source(const struct mount_request *r)
{
	char digest[DIGEST_MAX_STR];

	if (strlen(WRITABLE_SOURCE) + strlen(r->bootstrap) <= CONTEXT_VALUE_MAX)
		return xasprintf(WRITABLE_SOURCE "%s", r->bootstrap);
	return xasprintf(WRITABLE_SOURCE "%s", digest_format(r->digest, digest));
}

static int mount_on(
	const struct mount_request *r, const struct upper *u, int root, struct error **err)
{
	CLEANUP_FREE char *source = new_source(r);
	const struct overlay o = { .lower = root,
		.upper = u->upper_fd,
		.work = u->work_fd,
		.upper_path = u->upper_path,
		.work_path = u->work_path,
		.source = source };

	log_debug("changes go to %s", u->upper_path);
	return overlay_mount(&o, err);
}

/*
 * overlayfs takes a lower mount that is nowhere since Linux 6.15. Before, it must be in the
 * mount namespace at that moment; the overlay then has a copy of its own.
 */
static int mount_on_visible(const struct mount_request *r, const struct upper *u, int lower,
	int where, int root, struct error **err)
{
	char path[64];
	int mount;

	if (mount_attach(lower, where, r->mountpoint, err) < 0)
		return -1;
	mount = mount_on(r, u, root, err);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", root);
	if (umount2(path, MNT_DETACH) < 0)
		log_warn("%s: the read-only mount below stays: %s", r->mountpoint, strerror(errno));
	return mount;
}

int writable_mount(const struct mount_request *r, int lower, int where, struct error **err)
{
	CLEANUP_UPPER struct upper u = UPPER_NONE;
	CLEANUP_FD int root = openat(lower, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FD int mount = -1;

	if (root < 0)
		return error_set(err, errno, "cannot open the image's root");
	if (upper_begin(&u, r->upper, r->digest, root, err) < 0)
		return -1;
	mount = kernel_before(6, 15) ? mount_on_visible(r, &u, lower, where, root, err)
				     : mount_on(r, &u, root, err);
	if (mount < 0 || mount_attach(mount, where, r->mountpoint, err) < 0)
		return -1;
	u.keep = true;
	return 0;
}
