// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The kernel's EROFS over what the transports make of blobs. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/mount/context.h"
#include "lib/mount/erofs_mount.h"
#include "lib/mount/mountinfo.h"
#include "lib/mount/server.h"
#include "lib/serve/service/part.h"

#ifndef MOVE_MOUNT_BENEATH /* Linux 6.5; not in Debian 12's headers */
#define MOVE_MOUNT_BENEATH 0x00000200
#endif

/* ---- devices ---- */

static int attach(struct mounted *m, struct session_device *d, char **path, struct error **err)
{
	if (shared_blob_attach(d->blob, m->transport, path, err) < 0)
		return -1;
	d->attached = true;
	return 0;
}

/* What the kernel opens for the device; the caller frees it. */
static char *device_path(struct mounted *m, struct session_device *d, struct error **err)
{
	char *path = NULL;

	if (d->whole)
		return xstrdup(store_blob_path(d->whole));
	if (!d->blob)
		return image_source_blob_path(m->image, &d->layer->digest, err);
	/* fanotify may have a mark on it that a former process has left */
	if (m->transport->kind != DEVICE_FANOTIFY && shared_blob_is_complete(d->blob))
		return xstrdup(d->blob->path);
	return attach(m, d, &path, err) < 0 ? NULL : path;
}

static bool is_by_cachefiles(const struct mounted *m)
{
	return m->transport && m->transport->kind == DEVICE_CACHEFILES;
}

void kernel_mount_detach(struct mounted *m)
{
	if (is_by_cachefiles(m)) {
		cachefiles_mount_detach(m);
		return;
	}
	for (size_t i = 0; m->session && i < m->session->found.n_devices; i++) {
		struct session_device *d = &m->session->devices[i];

		if (d->attached)
			shared_blob_detach(d->blob, m->transport);
		d->attached = false;
	}
}

/* Also what is complete by now: the kernel may go on reading through a FUSE device, and may have
 * asked about a file with a mark just before. */
int kernel_mount_adopt(struct mounted *m, struct error **err)
{
	if (is_by_cachefiles(m))
		return cachefiles_mount_adopt(m, err);
	for (size_t i = 0; i < m->session->found.n_devices; i++) {
		struct session_device *d = &m->session->devices[i];
		CLEANUP_FREE char *path = NULL;

		if (d->blob && attach(m, d, &path, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- the mount ---- */

/* Do the paths still name the files that are open here? Being in use keeps them from eviction, not
 * from being set aside. */
static int check_paths(const void *arg, struct error **err)
{
	const struct mounted *m = arg;

	for (size_t i = 0; i < m->session->found.n_devices; i++) {
		const struct session_device *d = &m->session->devices[i];
		struct stat mine, there;

		if (d->whole && store_blob_check_path(d->whole, err) < 0)
			return error_wrap(err, "%s", d->layer->name);
		if (!d->blob)
			continue;
		if (fstat(d->fd, &mine) == 0 && stat(d->blob->path, &there) == 0 &&
			mine.st_dev == there.st_dev && mine.st_ino == there.st_ino)
			continue;
		error_set(err, 0, "%s: %s is no longer the file that is being filled",
			d->layer->name, d->blob->path);
		return error_hint(err, "the same again");
	}
	return 0;
}

static int mount_devices(struct mounted *m, char *const *paths, struct error **err)
{
	CLEANUP_FREE char *bootstrap = state_path(m->service, m->id, STATE_BOOTSTRAP);
	const struct mount_request request = { .bootstrap = bootstrap,
		.devices = paths,
		.n_devices = m->session->found.n_devices,
		.untrusted = !caller_is_trusted(&m->asked.caller) };
	CLEANUP_FD int mount = erofs_mount(&request, err);

	if (mount < 0 || check_paths(m, err) < 0)
		return -1;
	return take_fd(&mount);
}

static int mount_by_paths(struct mounted *m, struct error **err)
{
	size_t n = m->session->found.n_devices, i;
	CLEANUP_FREE char **paths = xcalloc(n + 1, sizeof(*paths));
	int mount = -1;

	for (i = 0; i < n; i++) {
		paths[i] = device_path(m, &m->session->devices[i], err);
		if (!paths[i])
			break;
	}
	if (i == n)
		mount = mount_devices(m, paths, err);
	while (i--)
		free(paths[i]);
	if (mount < 0)
		kernel_mount_detach(m);
	return mount;
}

int kernel_mount(struct mounted *m, struct error **err)
{
	return is_by_cachefiles(m) ? cachefiles_mount(m, err) : mount_by_paths(m, err);
}

/* ---- mounts of a former process ---- */

/* Nobody answers for a FUSE mount that begins: what would ask its server waits for ever. */
dev_t device_of_mount(int mount)
{
	struct statx st;

	if (statx(mount, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st) < 0)
		return 0;
	return makedev(st.stx_dev_major, st.stx_dev_minor);
}

/* Is it what one sees there? Something else may be mounted on top. */
static bool is_seen(dev_t dev, const char *path)
{
	CLEANUP_FD int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && device_of_mount(fd) == dev;
}

/* All of it; and a number may be another filesystem's by now. */
static bool is_ours(const struct mountinfo *info)
{
	return strcmp(info->root, "/") == 0 &&
	       (strcmp(info->fstype, "erofs") == 0 || strcmp(info->fstype, MOUNT_FUSE_TYPE) == 0);
}

/* Call `each` for every place in this mount namespace where the filesystem is mounted whole, and
 * seen. */
static unsigned each_place(dev_t dev, int (*each)(void *arg, const char *path), void *arg)
{
	CLEANUP_FCLOSE FILE *f = fopen("/proc/self/mountinfo", "re");
	CLEANUP_FREE char *line = NULL;
	struct mountinfo info;
	unsigned n = 0;
	size_t cap = 0;

	while (f && getline(&line, &cap, f) > 0)
		if (mountinfo_parse(line, &info) && info.dev == dev && is_ours(&info) &&
			is_seen(dev, info.mountpoint))
			n += each(arg, info.mountpoint) == 0;
	return n;
}

static int detach_at(void *arg, const char *path)
{
	(void)arg;
	return umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
}

static unsigned each_former_place(
	const struct mount_devs *d, int (*each)(void *arg, const char *path), void *arg)
{
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(d->before) / sizeof(*d->before); i++)
		if (d->before[i] && d->before[i] != d->now)
			n += each_place(d->before[i], each, arg);
	return n;
}

unsigned detach_everywhere(const struct mounted *m)
{
	unsigned n = each_former_place(&m->devs, detach_at, NULL);

	return m->devs.now ? n + each_place(m->devs.now, detach_at, NULL) : n;
}

/* First below the dead one, so that there is never nothing. */
static int replace_at(void *arg, const char *path)
{
	const int *mount = arg;
	CLEANUP_FD int copy =
		open_tree(*mount, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	/* before Linux 6.15 a mount that is nowhere cannot be cloned: the first place gets it */
	if (copy < 0 && errno == EINVAL)
		copy = fcntl(*mount, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return -1;
	if (move_mount(copy, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH) == 0)
		return detach_at(NULL, path);
	if (detach_at(NULL, path) < 0)
		return -1;
	return move_mount(copy, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
}

static int save_devs(const struct mounted *m, struct error **err)
{
	return state_save_asked(m->service, m->dir, m->id, &m->asked, &m->devs, err);
}

/* Of too many, the oldest stay: they are where they were. */
static void note_before(struct mount_devs *d)
{
	size_t i = 0;

	while (i < sizeof(d->before) / sizeof(*d->before) - 1 && d->before[i] &&
		d->before[i] != d->now)
		i++;
	d->before[i] = d->now;
}

/* Saved before and after: who dies between the two finds the old one by its number, or none. */
int replace_everywhere(struct mounted *m, int mount, struct error **err)
{
	struct mount_devs *d = &m->devs;
	dev_t new = device_of_mount(mount);
	unsigned n;

	if (!new)
		return error_set(err, 0, "the kernel tells no device number of the new mount");
	note_before(d);
	d->now = new;
	if (save_devs(m, err) < 0)
		return -1;
	n = each_former_place(d, replace_at, &mount);
	memset(d->before, 0, sizeof(d->before));
	return save_devs(m, err) < 0 ? -1 : (int)n;
}

static int look_at_place(void *arg, const char *path)
{
	(void)arg;
	(void)path;
	return 0;
}

bool kernel_mount_was_replaced(const struct mounted *m)
{
	struct mount_devs any = m->devs;

	any.now = 0; /* it is among the former ones */
	return each_former_place(&any, look_at_place, NULL) > 0;
}

int kernel_mount_replace(struct mounted *m, struct error **err)
{
	CLEANUP_FD int mount = -1;

	note_before(&m->devs); /* from now on, its bootstrap is none that the kernel has open */
	if (save_devs(m, err) < 0)
		return -1;
	if (unlinkat(m->dir, STATE_BOOTSTRAP, 0) < 0 && errno != ENOENT)
		return error_set(err, errno, "cannot remove the mount's bootstrap");
	if (state_save_bootstrap(m->dir, m->session->bootstrap_fd, err) < 0)
		return -1;
	mount = kernel_mount(m, err);
	return mount < 0 ? -1 : replace_everywhere(m, mount, err);
}
