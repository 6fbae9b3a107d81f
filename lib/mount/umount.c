// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* What is mounted, and taking it away. */
#include "config.h"

#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/mount/context.h"
#include "lib/mount/mount.h"
#include "lib/mount/mountinfo.h"
#include "lib/mount/server.h"
#include "lib/mount/upper.h"
#include "lib/mount/writable.h"

/* What we make: EROFS of the kernel, an overlay on it, a tree that a process of ours serves. */
enum kind { KIND_NONE, KIND_EROFS, KIND_WRITABLE, KIND_FUSE };

static enum kind kind_of(const struct mountinfo *m)
{
	if (!strcmp(m->fstype, "erofs"))
		return KIND_EROFS;
	if (!strcmp(m->fstype, MOUNT_FUSE_TYPE))
		return KIND_FUSE;
	if (!strcmp(m->fstype, "overlay") &&
		!strncmp(m->source, WRITABLE_SOURCE, strlen(WRITABLE_SOURCE)))
		return KIND_WRITABLE;
	return KIND_NONE;
}

/* Call `each` for every one of them; the fields last as long as the call. */
static int each_mount(void (*each)(void *arg, const struct mountinfo *mount, enum kind kind),
	void *arg, struct error **err)
{
	CLEANUP_FCLOSE FILE *f = fopen("/proc/self/mountinfo", "re");
	CLEANUP_FREE char *line = NULL;
	size_t cap = 0;

	if (!f)
		return error_set(err, errno, "cannot open /proc/self/mountinfo");
	while (getline(&line, &cap, f) > 0) {
		struct mountinfo mount;
		enum kind kind;

		if (mountinfo_parse(line, &mount) && (kind = kind_of(&mount)) != KIND_NONE)
			each(arg, &mount, kind);
	}
	if (ferror(f))
		return error_set(err, errno, "cannot read /proc/self/mountinfo");
	return 0;
}

struct search {
	const char *mountpoint;
	dev_t dev; /* of what is topmost there */
	enum kind kind; /* KIND_NONE: not found */
	char *upper; /* the caller frees it */
};

static void compare(void *arg, const struct mountinfo *mount, enum kind kind)
{
	struct search *s = arg;

	if (mount->dev != s->dev || strcmp(s->mountpoint, mount->mountpoint) != 0)
		return;
	s->kind = kind;
	free(s->upper);
	s->upper = kind == KIND_WRITABLE ? mountinfo_option(mount, "upperdir") : NULL;
}

/* Topmost there is a mount of ours, and the place is its root, not somewhere below it. */
static int find(struct search *s, const char *path, struct error **err)
{
	CLEANUP_FREE char *real = NULL;
	char link[1];
	dev_t dev;

	if (mount_device(path, &dev) < 0)
		return error_set(err, errno, "cannot look at %s", path);
	if (readlink(path, link, sizeof(link)) >= 0) {
		error_set(err, 0, "%s is a symbolic link, not a mount point", path);
		return error_hint(err, "the path that it leads to");
	}
	real = realpath(path, NULL);
	if (!real)
		return error_set(err, errno, "cannot look at %s", path);
	*s = (struct search){ .mountpoint = real, .dev = dev };
	if (each_mount(compare, s, err) < 0)
		return -1;
	s->mountpoint = path;
	if (s->kind != KIND_NONE)
		return 0;
	error_set(err, 0, "%s is not the mount point of an EROFS image", path);
	return error_hint(err, "`erofs-convert mount`, which lists them");
}

/* What a user has mounted by fusermount3, only that may unmount for him. */
static int run_fusermount(const char *mountpoint)
{
	char *argv[] = { "fusermount3", "-u", "-q", "--", (char *)mountpoint, NULL };
	pid_t child;
	int how;

	if (posix_spawnp(&child, argv[0], NULL, NULL, argv, environ) != 0)
		return -1;
	while (waitpid(child, &how, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(how) && WEXITSTATUS(how) == 0 ? 0 : -1;
}

static int take_away(const char *mountpoint, enum kind kind, struct error **err)
{
	int code;

	if (umount2(mountpoint, UMOUNT_NOFOLLOW) == 0)
		return 0;
	code = errno;
	if (code == EPERM && kind == KIND_FUSE) {
		if (run_fusermount(mountpoint) == 0)
			return 0;
		error_set(err, 0, "cannot unmount %s: it is in use, or another user's", mountpoint);
		return error_hint(err, "`fusermount3 -u %s`, which says why", mountpoint);
	}
	error_set(err, code, "cannot unmount %s", mountpoint);
	if (code == EBUSY)
		return error_hint(
			err, "`fuser -vm %s`, which names the processes that use it", mountpoint);
	return code == EPERM ? mount_need_root(err) : -1;
}

int umount_image(const char *mountpoint, struct error **err)
{
	CLEANUP_FREE char *upper = NULL;
	CLEANUP_FD int server = -1;
	struct search s = { 0 };
	int found = find(&s, mountpoint, err);

	upper = s.upper;
	if (found == 0 && s.kind == KIND_FUSE)
		server = mount_server_find(s.dev);
	if (found < 0 || take_away(mountpoint, s.kind, err) < 0)
		return -1;
	mount_server_wait(take_fd(&server));
	if (s.kind == KIND_WRITABLE)
		upper_sweep();
	return upper && upper_is_temporary(upper) ? upper_discard(upper, err) : 0;
}

struct listing {
	struct mount_info *list;
	size_t n, cap;
};

static void add_mount(void *arg, const struct mountinfo *mount, enum kind kind)
{
	bool writable = kind == KIND_WRITABLE;
	struct listing *l = arg;
	const char *source = mount->source + (writable ? strlen(WRITABLE_SOURCE) : 0);

	l->list = xgrow(l->list, l->n, &l->cap, sizeof(*l->list));
	l->list[l->n++] = (struct mount_info){ .mountpoint = xstrdup(mount->mountpoint),
		.source = xstrdup(source),
		.writable = writable };
}

int mount_list(struct mount_info **list, size_t *n, struct error **err)
{
	struct listing l = { 0 };

	if (each_mount(add_mount, &l, err) < 0) {
		mount_list_free(l.list, l.n);
		return -1;
	}
	*list = l.list;
	*n = l.n;
	return 0;
}

void mount_list_free(struct mount_info *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].mountpoint);
		free(list[i].source);
	}
	free(list);
}
