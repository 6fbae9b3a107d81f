// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h> /* glibc 2.36; never beside <linux/mount.h>, which clashes with it */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/mount/mountinfo.h"

#define EROFS_SUPER_MAGIC  0xE0F5E1E2u
#define FSCONFIG_VALUE_MAX 255 /* bytes: fsconfig(2), SET_STRING */
#define SPARE_FDS	   16

/* A mount in the making. */
struct making {
	int fs; /* fsopen()'s */
	int *fds; /* files whose paths are too long to be told to the kernel */
	size_t n_fds, cap_fds;
};

static void making_end(struct making *m)
{
	for (size_t i = 0; i < m->n_fds; i++)
		close(m->fds[i]);
	free(m->fds);
	if (m->fs >= 0)
		close(m->fs);
}

/* Is the running kernel older than this? An unreadable release counts as new. */
static bool kernel_before(unsigned major, unsigned minor)
{
	struct utsname u;
	unsigned have[2];

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &have[0], &have[1]) != 2)
		return false;
	return have[0] < major || (have[0] == major && have[1] < minor);
}

static const char *kernel_release(struct utsname *u)
{
	return uname(u) < 0 ? "an unknown kernel" : u->release;
}

/*
 * What the kernel left to read in the context: lines such as "e erofs: text", one a read().
 * The caller frees it; NULL when there is nothing.
 */
static char *kernel_messages(int fs)
{
	char *all = NULL, line[1024];
	ssize_t n;

	while ((n = read(fs, line, sizeof(line) - 1)) > 0) {
		char *text = line, *longer;

		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		if (text[0] && text[1] == ' ') /* severity: e, w or i */
			text += 2;
		longer = xasprintf("%s%s%s", all ? all : "", all ? "; " : "", text);
		free(all);
		all = longer;
	}
	return all;
}

static int refused(struct error **err, int fs, int code, const char *what)
{
	CLEANUP_FREE char *said = fs >= 0 ? kernel_messages(fs) : NULL;

	if (said)
		return error_set(err, code, "%s (kernel: %s)", what, said);
	return error_set(err, code, "%s", what);
}

static int need_root(struct error **err)
{
	return error_hint(err, "run it as root: mounting EROFS needs CAP_SYS_ADMIN");
}

static int begin(struct making *m, struct error **err)
{
	struct utsname u;
	int code;

	m->fs = fsopen("erofs", FSOPEN_CLOEXEC);
	if (m->fs >= 0)
		return 0;
	code = errno;
	if (code == ENODEV) {
		error_set(err, 0, "the running kernel (%s) has no EROFS", kernel_release(&u));
		return error_hint(err, "modprobe erofs, or a kernel with CONFIG_EROFS_FS");
	}
	error_set(err, code, "cannot ask the kernel for an EROFS mount");
	if (code == EPERM)
		return need_root(err);
	if (code == ENOSYS)
		return error_hint(err, "Linux 6.12 or later, with fsopen(2) allowed by the sandbox "
				       "if there is one");
	return -1;
}

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

static int tell_path(struct making *m, const char *key, const char *path, struct error **err)
{
	char proc[64];
	int fd;

	if (strlen(path) > FSCONFIG_VALUE_MAX) {
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (fd < 0)
			return error_set(err, errno, "cannot open %s", path);
		m->fds = xgrow(m->fds, m->n_fds, &m->cap_fds, sizeof(*m->fds));
		m->fds[m->n_fds++] = fd;
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	}
	if (fsconfig(m->fs, FSCONFIG_SET_STRING, key,
		    strlen(path) > FSCONFIG_VALUE_MAX ? proc : path, 0) < 0) {
		int code = errno;

		refused(err, m->fs, code, "the kernel does not take it");
		return error_wrap(err, "%s %s", key, path);
	}
	return 0;
}

static int tell_all(struct making *m, const char *bootstrap, char *const *devices, size_t n_devices,
	struct error **err)
{
	size_t n_long = strlen(bootstrap) > FSCONFIG_VALUE_MAX;

	for (size_t i = 0; i < n_devices; i++)
		n_long += strlen(devices[i]) > FSCONFIG_VALUE_MAX;
	if (n_long && make_room_for_fds(n_long, err) < 0)
		return -1;
	if (tell_path(m, "source", bootstrap, err) < 0)
		return -1;
	for (size_t i = 0; i < n_devices; i++)
		if (tell_path(m, "device", devices[i], err) < 0)
			return -1;
	if (fsconfig(m->fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
		return refused(err, m->fs, errno, "cannot make it read-only");
	return 0;
}

/* What would make it possible, as far as the errno tells (seen on Linux 6.1 to 6.18). */
static int explain_create(struct error **err, int code)
{
	struct utsname u;

	switch (code) {
	case ENOTBLK:
		if (kernel_before(6, 12))
			return error_hint(err,
				"Linux 6.12 or later: %s mounts EROFS from block devices only",
				kernel_release(&u));
		return error_hint(err, "a layout on a disk filesystem such as ext4, XFS or Btrfs "
				       "(tmpfs and overlayfs cannot back a mount), and a kernel "
				       "with CONFIG_EROFS_FS_BACKED_BY_FILE");
	case EPERM:
	case EACCES:
		return need_root(err);
	case EOPNOTSUPP:
		return error_hint(err, "a newer kernel: %s does not know all features of the image",
			kernel_release(&u));
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

static int create(struct making *m, struct error **err)
{
	int code;

	if (fsconfig(m->fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		return 0;
	code = errno;
	if (code == ENOTBLK) /* "Block device required" would send people the wrong way */
		refused(err, m->fs, 0, "the kernel does not mount EROFS from files here");
	else
		refused(err, m->fs, code, "the kernel does not mount the image");
	return explain_create(err, code);
}

/* Opened before the kernel does any work: the place is the one that was looked at. */
static int open_mountpoint(const char *path, struct error **err)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT) {
		error_set(err, 0, "the mount point %s does not exist", path);
		return error_hint(err, "mkdir -p %s", path);
	}
	if (errno == ENOTDIR) {
		error_set(err, 0, "the mount point %s is not a directory", path);
		return error_hint(err, "an empty directory as the mount point");
	}
	return error_set(err, errno, "cannot look at the mount point %s", path);
}

static int attach(const struct making *m, int where, const char *mountpoint, struct error **err)
{
	CLEANUP_FD int mnt = fsmount(m->fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
	int code;

	if (mnt < 0)
		return refused(err, m->fs, errno, "the kernel does not make a mount of the image");
	if (move_mount(mnt, "", where, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0)
		return 0;
	code = errno;
	error_set(err, code, "cannot mount at %s", mountpoint);
	return code == EPERM ? need_root(err) : -1;
}

int mount_image(const char *bootstrap, char *const *devices, size_t n_devices,
	const char *mountpoint, struct error **err)
{
	CLEANUP(making_end) struct making m = { .fs = -1 };
	CLEANUP_FD int where = open_mountpoint(mountpoint, err);

	if (where < 0 || begin(&m, err) < 0)
		return -1;
	log_debug("mounting %s with %zu devices at %s", bootstrap, n_devices, mountpoint);
	if (tell_all(&m, bootstrap, devices, n_devices, err) < 0 || create(&m, err) < 0)
		return -1;
	return attach(&m, where, mountpoint, err);
}

/* Call `each` for every EROFS mount; the fields last as long as the call. */
static int each_erofs_mount(
	void (*each)(void *arg, const struct mountinfo *mount), void *arg, struct error **err)
{
	CLEANUP_FCLOSE FILE *f = fopen("/proc/self/mountinfo", "re");
	CLEANUP_FREE char *line = NULL;
	size_t cap = 0;

	if (!f)
		return error_set(err, errno, "cannot open /proc/self/mountinfo");
	while (getline(&line, &cap, f) > 0) {
		struct mountinfo mount;

		if (mountinfo_parse(line, &mount) && !strcmp(mount.fstype, "erofs"))
			each(arg, &mount);
	}
	if (ferror(f))
		return error_set(err, errno, "cannot read /proc/self/mountinfo");
	return 0;
}

struct search {
	const char *mountpoint;
	bool found;
};

static void compare_mountpoint(void *arg, const struct mountinfo *mount)
{
	struct search *s = arg;

	s->found |= !strcmp(s->mountpoint, mount->mountpoint);
}

/* Topmost there is EROFS (statfs), and the place is a mount's root, not somewhere below it. */
static int check_is_ours(const char *path, struct error **err)
{
	CLEANUP_FREE char *real = NULL;
	struct search s = { 0 };
	struct statfs fs;
	struct stat st;

	if (lstat(path, &st) < 0 || (!S_ISLNK(st.st_mode) && statfs(path, &fs) < 0))
		return error_set(err, errno, "cannot look at %s", path);
	if (S_ISLNK(st.st_mode)) {
		error_set(err, 0, "%s is a symbolic link, not a mount point", path);
		return error_hint(err, "the path that it leads to");
	}
	real = realpath(path, NULL);
	if (!real)
		return error_set(err, errno, "cannot look at %s", path);
	s.mountpoint = real;
	if ((uint32_t)fs.f_type == EROFS_SUPER_MAGIC &&
		each_erofs_mount(compare_mountpoint, &s, err) < 0)
		return -1;
	if (s.found)
		return 0;
	error_set(err, 0, "%s is not the mount point of an EROFS image", path);
	return error_hint(err, "`erofs-convert mount`, which lists them");
}

int umount_image(const char *mountpoint, struct error **err)
{
	int code;

	if (check_is_ours(mountpoint, err) < 0)
		return -1;
	if (umount2(mountpoint, UMOUNT_NOFOLLOW) == 0)
		return 0;
	code = errno;
	error_set(err, code, "cannot unmount %s", mountpoint);
	if (code == EBUSY)
		return error_hint(
			err, "`fuser -vm %s`, which names the processes that use it", mountpoint);
	return code == EPERM ? need_root(err) : -1;
}

struct listing {
	struct mount_info *list;
	size_t n, cap;
};

static void add_mount(void *arg, const struct mountinfo *mount)
{
	struct listing *l = arg;

	l->list = xgrow(l->list, l->n, &l->cap, sizeof(*l->list));
	l->list[l->n++] = (struct mount_info){ .mountpoint = xstrdup(mount->mountpoint),
		.source = xstrdup(mount->source) };
}

int mount_list(struct mount_info **list, size_t *n, struct error **err)
{
	struct listing l = { 0 };

	if (each_erofs_mount(add_mount, &l, err) < 0) {
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
