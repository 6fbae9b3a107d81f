// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Where a mount is. The kernel gives the device number of a filesystem that is gone to the next
 * one, which may be mounted by anybody: so a number is no name. The kernel's EROFS has our files'
 * names, with the mount's id. A mount by FUSE has only its image's name (EROFS, where the path is
 * too long for the kernel, not even that): its number is looked for before any new mount is made,
 * and each place that was found is held open, so that the filesystem stays and nobody else gets its
 * number. Left over: somebody's FUSE mount of the same image that has got it while no daemon lived.
 *
 * A daemon with a mount namespace of its own (the unit has PrivateMounts=) sees copies of what is
 * mounted elsewhere. They go when the others do; what is done to them mends nothing there.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/mount/context.h"
#include "lib/mount/mountinfo.h"
#include "lib/mount/server.h"
#include "lib/serve/service/part.h"

#ifndef MOVE_MOUNT_BENEATH /* Linux 6.5; not in Debian 12's headers */
#define MOVE_MOUNT_BENEATH 0x00000200
#endif

enum { N_BEFORE = sizeof(((struct mount_devs *)0)->before) / sizeof(dev_t) };

/* ---- what is ours ---- */

/* Nobody answers for a FUSE mount that begins: what would ask its server waits for ever. */
dev_t device_of_mount(int mount)
{
	struct statx st;

	if (statx(mount, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st) < 0)
		return 0;
	return makedev(st.stx_dev_major, st.stx_dev_minor);
}

static bool was_before(const struct mount_devs *d, dev_t dev)
{
	for (size_t i = 0; i < N_BEFORE; i++)
		if (d->before[i] == dev)
			return true;
	return false;
}

static bool is_known(const struct mount_devs *d, dev_t dev)
{
	return d->now == dev || was_before(d, dev);
}

bool mount_has_no_name(const struct mounted *m)
{
	CLEANUP_FREE char *path = state_path(m->service, m->id, STATE_BOOTSTRAP);

	if (m->asked.transport == SERVICE_FUSE || m->asked.transport == SERVICE_CACHEFILES)
		return m->asked.transport == SERVICE_FUSE;
	return strlen(path) > CONTEXT_VALUE_MAX;
}

static bool is_my_fuse(const struct mounted *m, const struct mountinfo *info)
{
	return strcmp(info->fstype, MOUNT_FUSE_TYPE) == 0 &&
	       strncmp(info->source, m->asked.image, CONTEXT_VALUE_MAX) == 0 &&
	       is_known(&m->devs, info->dev);
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), n_end = strlen(end);

	return n >= n_end && strcmp(s + n - n_end, end) == 0;
}

/* By the file that it is of, whatever the store's path is called; over cachefiles, by its id. */
static bool is_my_erofs(const struct mounted *m, const struct mountinfo *info)
{
	CLEANUP_FREE char *file = NULL, *fsid = NULL;

	if (strcmp(info->fstype, "erofs") != 0)
		return false;
	if (strncmp(info->source, "/proc/", 6) == 0)
		return is_known(&m->devs, info->dev) && mount_has_no_name(m);
	fsid = mountinfo_option(info, "fsid");
	if (fsid)
		return strcmp(fsid, m->id) == 0;
	file = xasprintf("/mounts/%s/" STATE_BOOTSTRAP, m->id);
	return ends_with(info->source, file);
}

/* All of it. */
static bool is_mine(const struct mounted *m, const struct mountinfo *info)
{
	return strcmp(info->root, "/") == 0 &&
	       (m->asked.transport == SERVICE_FUSE ? is_my_fuse(m, info) : is_my_erofs(m, info));
}

/* ---- looking ---- */

/* Is it what one sees there? Something else may be mounted on top. A descriptor, or -1. */
static int open_if_seen(const char *path, dev_t dev)
{
	CLEANUP_FD int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && device_of_mount(fd) == dev ? take_fd(&fd) : -1;
}

static void add_if_seen(struct mount_places *p, const struct mountinfo *info)
{
	int fd = open_if_seen(info->mountpoint, info->dev);

	if (fd < 0)
		return;
	p->all = xgrow(p->all, p->n, &p->cap, sizeof(*p->all));
	p->all[p->n++] = (struct mount_place){
		.fd = fd,
		.dev = info->dev,
		.path = xstrdup(info->mountpoint),
		.is_copy = info->is_copy,
	};
}

/* By now somebody may have unmounted it, or mounted something on top; or what was done at another
 * place was done here, too, where the two share what is mounted below them. */
static bool is_still_seen(const struct mount_place *p)
{
	CLEANUP_FD int fd = open_if_seen(p->path, p->dev);

	return fd >= 0;
}

void mount_places_find(const struct mounted *m, struct mount_places *p)
{
	CLEANUP_FCLOSE FILE *f = fopen("/proc/self/mountinfo", "re");
	CLEANUP_FREE char *line = NULL;
	struct mountinfo info;
	size_t cap = 0;

	mount_places_drop(p);
	while (f && getline(&line, &cap, f) > 0)
		if (mountinfo_parse(line, &info) && is_mine(m, &info))
			add_if_seen(p, &info);
}

void mount_places_drop(struct mount_places *p)
{
	for (size_t i = 0; i < p->n; i++) {
		close(p->all[i].fd);
		free(p->all[i].path);
	}
	free(p->all);
	*p = (struct mount_places){ 0 };
}

static void cleanup_places_(struct mount_places *p)
{
	mount_places_drop(p);
}
#define CLEANUP_PLACES CLEANUP(cleanup_places_)

bool mount_places_are_ours(const struct mount_places *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (!p->all[i].is_copy)
			return true;
	return false;
}

bool mount_is_somewhere(const struct mounted *m)
{
	CLEANUP_PLACES struct mount_places p = { 0 };

	mount_places_find(m, &p);
	return p.n;
}

/* Its number may be another's by now, but those that were about to be replaced were there. */
bool mount_was_replaced(const struct mounted *m)
{
	CLEANUP_PLACES struct mount_places p = { 0 };
	bool has_name = !mount_has_no_name(m);

	mount_places_find(m, &p);
	for (size_t i = 0; i < p.n; i++)
		if (has_name || was_before(&m->devs, p.all[i].dev))
			return true;
	return false;
}

/* ---- detaching ---- */

static int detach_at(const struct mount_place *p)
{
	return umount2(p->path, MNT_DETACH | UMOUNT_NOFOLLOW);
}

unsigned mount_detach_everywhere(const struct mounted *m)
{
	CLEANUP_PLACES struct mount_places p = { 0 };
	unsigned n = 0;

	mount_places_find(m, &p);
	for (size_t i = 0; i < p.n; i++)
		n += !p.all[i].is_copy && is_still_seen(&p.all[i]) && detach_at(&p.all[i]) == 0;
	return n;
}

/* ---- replacing ---- */

/* Before Linux 6.15 a mount that is nowhere cannot be cloned: the first place gets it. */
static int copy_of(int mount, bool is_first)
{
	int copy = open_tree(mount, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	return copy < 0 && is_first ? fcntl(mount, F_DUPFD_CLOEXEC, 3) : copy;
}

/* First below the dead one, so that there is never nothing. */
static int replace_at(const struct mount_place *p, int mount, bool is_first)
{
	CLEANUP_FD int copy = copy_of(mount, is_first);

	if (copy < 0)
		return -1;
	if (move_mount(copy, "", AT_FDCWD, p->path, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH) ==
		0)
		return detach_at(p);
	if (detach_at(p) < 0)
		return -1;
	return move_mount(copy, "", AT_FDCWD, p->path, MOVE_MOUNT_F_EMPTY_PATH);
}

static int save_devs(const struct mounted *m, struct error **err)
{
	return state_save_asked(m->service, m->dir, m->id, &m->asked, &m->devs, err);
}

int mount_places_note(struct mounted *m, struct error **err)
{
	struct mount_devs *d = &m->devs;
	size_t n = 0;

	memset(d->before, 0, sizeof(d->before));
	for (size_t i = 0; i < m->former.n && n < N_BEFORE; i++) {
		dev_t dev = m->former.all[i].dev;
		size_t k = 0;

		while (k < n && d->before[k] != dev)
			k++;
		if (k == n)
			d->before[n++] = dev;
	}
	return save_devs(m, err);
}

/* How many were replaced; *left: others are still what they were. */
static int replace_all(const struct mount_places *p, int mount, bool *left)
{
	int n = 0;

	for (size_t i = 0; i < p->n; i++) {
		if (!is_still_seen(&p->all[i]))
			continue;
		if (!p->all[i].is_copy && replace_at(&p->all[i], mount, n == 0) == 0)
			n++;
		else
			*left |= is_still_seen(&p->all[i]);
	}
	return n;
}

/* Saved before and after: who dies between the two leaves what it takes to find the old ones. */
int mount_places_replace(struct mounted *m, int mount, struct error **err)
{
	struct mount_devs *d = &m->devs;
	bool left = false;
	int n;

	d->now = device_of_mount(mount);
	if (!d->now)
		return error_set(err, 0, "the kernel tells no device number of the new mount");
	if (mount_places_note(m, err) < 0)
		return -1;
	n = replace_all(&m->former, mount, &left);
	if (!left)
		memset(d->before, 0, sizeof(d->before));
	if (save_devs(m, err) < 0)
		return -1;
	return n ? n : error_set(err, 0, "it cannot be mounted where it was: mount again");
}
