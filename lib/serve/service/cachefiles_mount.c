// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A mount whose bootstrap and devices are objects of the kernel's cache. Its id is the bootstrap's
 * cookie; blobs have cookies of their own, so that images share them; what is no shared blob is
 * this mount's alone.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/bootstrap/zero_holes.h"
#include "lib/mount/erofs_ondemand.h"
#include "lib/serve/service/part.h"
#include "lib/serve/transport/cachefiles.h"

#define SYSFS_EROFS "/sys/fs/erofs"

/* ---- the bootstrap ---- */

/* A file without a name: what is saved stays as it was. */
static int copy_bootstrap(const struct mounted *m, struct error **err)
{
	CLEANUP_FD int fd = openat(m->dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_set(err, errno, "cannot make a copy of the bootstrap");
	return state_copy_bootstrap(fd, m->session->bootstrap_fd, err) < 0 ? -1 : take_fd(&fd);
}

static int without_holes(const struct mounted *m, int fd, uint64_t size, struct zero_holes *zeros,
	struct error **err)
{
	void *image = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int rc;

	if (image == MAP_FAILED)
		return error_set(err, errno, "cannot map the copy of the bootstrap");
	rc = bootstrap_zero_holes(m->session->tree, image, zeros, err);
	munmap(image, size);
	return rc;
}

static int add_bootstrap(struct mounted *m, struct error **err)
{
	uint64_t size = bootstrap_size(m->session->tree);
	CLEANUP_FD int fd = copy_bootstrap(m, err);
	struct cachefiles_file f = {
		.cookie = m->id, .fd = fd, .data = size, .size = size, .at_once = true
	};
	struct zero_holes zeros;

	if (fd < 0 || without_holes(m, fd, size, &zeros, err) < 0)
		return -1;
	if (zeros.n)
		f.size = (zeros.block + zeros.n) * EROFS_BLOCK_SIZE;
	return cachefiles_add_file(m->transport, &f, err);
}

/* ---- devices ---- */

static char *own_cookie(const struct mounted *m, size_t device)
{
	return xasprintf("%s.%zu", m->id, device);
}

/* Raw: not shared, for it may be what another image says is compressed, and of a layout it is not
 * verified. */
static char *add_raw(struct mounted *m, size_t i, struct error **err)
{
	const struct session_device *d = &m->session->devices[i];
	CLEANUP_FREE char *cookie = own_cookie(m, i);
	const struct cachefiles_file f = {
		.cookie = cookie, .fd = d->fd, .offset = d->offset, .data = d->size, .size = d->size
	};

	return cachefiles_add_file(m->transport, &f, err) < 0 ? NULL : take_ptr(cookie);
}

static char *add_device(struct mounted *m, size_t i, struct error **err)
{
	struct session_device *d = &m->session->devices[i];
	char *cookie;

	if (!d->blob)
		return add_raw(m, i, err);
	if (shared_blob_attach(d->blob, m->transport, &cookie, err) < 0)
		return NULL;
	d->attached = true;
	return cookie;
}

static void free_all(char **cookies, size_t n)
{
	while (n--)
		free(cookies[n]);
	free(cookies);
}

/* In the order of devices. What was added is for cachefiles_mount_detach(), also after an error. */
static char **add_all(struct mounted *m, struct error **err)
{
	size_t n = m->session->found.n_devices, i;
	char **cookies = xcalloc(n + 1, sizeof(*cookies));

	if (add_bootstrap(m, err) < 0) {
		free(cookies);
		return NULL;
	}
	for (i = 0; i < n; i++) {
		cookies[i] = add_device(m, i, err);
		if (!cookies[i]) {
			free_all(cookies, i);
			return NULL;
		}
	}
	return cookies;
}

void cachefiles_mount_detach(struct mounted *m)
{
	if (!m->session)
		return;
	cachefiles_remove_file(m->transport, m->id);
	for (size_t i = 0; i < m->session->found.n_devices; i++) {
		struct session_device *d = &m->session->devices[i];
		CLEANUP_FREE char *cookie = own_cookie(m, i);

		if (d->attached)
			shared_blob_detach(d->blob, m->transport);
		else if (!d->blob)
			cachefiles_remove_file(m->transport, cookie);
		d->attached = false;
	}
}

/* ---- the mount ---- */

int cachefiles_mount(struct mounted *m, struct error **err)
{
	char **cookies = add_all(m, err);
	const struct ondemand_mount request = { .fsid = m->id,
		.domain = cachefiles_domain(m->transport),
		.devices = cookies,
		.n_devices = m->session->found.n_devices,
		.untrusted = !caller_is_trusted(&m->asked.caller) };
	int mount = cookies ? erofs_mount_ondemand(&request, err) : -1;

	if (cookies)
		free_all(cookies, request.n_devices);
	if (mount < 0)
		cachefiles_mount_detach(m);
	return mount;
}

int cachefiles_mount_adopt(struct mounted *m, struct error **err)
{
	char **cookies = add_all(m, err);

	if (!cookies)
		return -1;
	free_all(cookies, m->session->found.n_devices);
	return 0;
}

/* "ID" or "DOMAIN,ID", as long as there is the filesystem, in whichever namespaces it is mounted.
 * 1, 0, or -1 when it cannot be known. */
static int is_in_sysfs(const char *id)
{
	DIR *d = opendir(SYSFS_EROFS);
	struct dirent *e;
	int found = d ? 0 : -1;

	while (d && !found && (e = readdir(d))) {
		size_t n = strlen(e->d_name), len = strlen(id);

		found = n >= len && !strcmp(e->d_name + n - len, id) &&
			(n == len || e->d_name[n - len - 1] == ',');
	}
	if (d)
		closedir(d);
	return found;
}

/* The usual case, without looking through all of them. */
static bool is_as_made(const struct mounted *m)
{
	CLEANUP_FREE char *path = NULL;

	if (!m->transport)
		return false;
	path = xasprintf(SYSFS_EROFS "/%s,%s", cachefiles_domain(m->transport), m->id);
	return access(path, F_OK) == 0;
}

/* The protocol tells of the end by a CLOSE, but not of what was not opened again since a former
 * process died. */
bool cachefiles_mount_is_gone(const struct mounted *m)
{
	int found = is_as_made(m) ? 1 : is_in_sysfs(m->id);

	if (found >= 0)
		return !found;
	return m->transport && cachefiles_was_closed(m->transport, m->id);
}
