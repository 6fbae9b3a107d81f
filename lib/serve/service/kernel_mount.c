// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The kernel's EROFS over what the transports make of blobs. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/mount/erofs_mount.h"
#include "lib/serve/service/part.h"

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

/* ---- a mount of a former process ---- */

int kernel_mount_replace(struct mounted *m, struct error **err)
{
	CLEANUP_FD int mount = -1;

	/* from then on, its bootstrap is none that the kernel has open */
	if (mount_places_note(m, err) < 0)
		return -1;
	if (state_save_bootstrap(m->dir, m->session->bootstrap_fd, err) < 0)
		return -1;
	mount = kernel_mount(m, err);
	return mount < 0 ? -1 : mount_places_replace(m, mount, err);
}
