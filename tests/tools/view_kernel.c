// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "tests/tools/view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fmt/erofs.h"
#include "lib/base/mem.h"

/* ---- the mount ---- */

static int configure(int fs, const char *image, char *const *devices, size_t n_devices)
{
	if (fsconfig(fs, FSCONFIG_SET_STRING, "source", image, 0) < 0)
		return -1;
	for (size_t i = 0; i < n_devices; i++)
		if (fsconfig(fs, FSCONFIG_SET_STRING, "device", devices[i], 0) < 0)
			return -1;
	return fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

static int mount_alone(
	const char *image, char *const *devices, size_t n_devices, struct error **err)
{
	CLEANUP_FD int fs = fsopen("erofs", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0)
		return error_set(err, errno, "fsopen");
	if (configure(fs, image, devices, n_devices) < 0)
		return error_set(err, errno, "the kernel does not mount it");
	fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
	return fd < 0 ? error_set(err, errno, "fsmount") : fd;
}

/* ---- one inode; `name` is in the current directory ---- */

static int read_data(struct view_inode *now, const char *name, uint64_t size, struct error **err)
{
	CLEANUP_FD int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	CLEANUP_FREE uint8_t *bytes = NULL;
	uint64_t offset, len, total = 0, at = 0;

	if (fd < 0)
		return error_set(err, errno, "open");
	for (unsigned i = 0; view_piece(size, i, &offset, &len); i++)
		total += len;
	bytes = xmalloc(total + 1);
	for (unsigned i = 0; view_piece(size, i, &offset, &len); i++) {
		for (uint64_t done = 0; done < len;) {
			ssize_t n =
				pread(fd, bytes + at + done, len - done, (off_t)(offset + done));

			if (n <= 0)
				return error_set(
					err, n ? errno : 0, "read at %" PRIu64, offset + done);
			done += (uint64_t)n;
		}
		at += len;
	}
	now->content = view_hash(0, bytes, total);
	return 0;
}

static int read_link(struct view_inode *now, const char *name, struct error **err)
{
	char target[4097];
	ssize_t n = readlink(name, target, sizeof(target));

	if (n < 0)
		return error_set(err, errno, "readlink");
	now->content = view_hash(0, target, (size_t)n);
	return 0;
}

static int read_xattrs(struct view_inode *now, const char *name, struct error **err)
{
	static char list[XATTR_LIST_MAX], value[XATTR_SIZE_MAX];
	ssize_t n = llistxattr(name, list, sizeof(list));

	if (n < 0)
		return error_set(err, errno, "listxattr");
	for (const char *x = list; x < list + n; x += strlen(x) + 1) {
		ssize_t len = lgetxattr(name, x, value, sizeof(value));

		if (len < 0)
			return error_set(err, errno, "getxattr %s", x);
		now->xattrs += view_hash_xattr(x, strlen(x), value, (size_t)len);
	}
	return 0;
}

static int look_at(struct view_inode *now, const char *name, mode_t *mode, struct error **err)
{
	struct view_stat fields;
	struct stat st;

	if (lstat(name, &st) < 0)
		return error_set(err, errno, "lstat");
	fields = (struct view_stat){ st.st_mode, (uint32_t)st.st_nlink, st.st_uid, st.st_gid, 0, 0,
		(uint64_t)st.st_size };
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
		fields.major = major(st.st_rdev);
		fields.minor = minor(st.st_rdev);
	}
	now->nid = st.st_ino;
	now->stat = view_hash_stat(&fields);
	now->mtime = view_hash_time(st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec);
	*mode = st.st_mode;
	if (read_xattrs(now, name, err) < 0)
		return -1;
	if (S_ISLNK(st.st_mode))
		return read_link(now, name, err);
	return S_ISREG(st.st_mode) ? read_data(now, name, (uint64_t)st.st_size, err) : 0;
}

/* ---- the walk: each directory becomes the current one ---- */

static uint8_t erofs_type(unsigned char d_type)
{
	return erofs_file_type((uint16_t)DTTOIF(d_type));
}

static int walk(struct view *v, size_t self, struct error **err);

static int enter(struct view *v, size_t self, const char *name, struct error **err)
{
	CLEANUP_FD int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (back < 0 || chdir(name) < 0)
		return error_set(err, errno, "chdir");
	if (walk(v, self, err) < 0)
		return -1;
	return fchdir(back) < 0 ? error_set(err, errno, "fchdir") : 0;
}

static int take_name(struct view *v, size_t dir, const struct dirent *e, struct error **err)
{
	const uint64_t fields[] = { e->d_ino, erofs_type(e->d_type) };
	uint64_t *content = &v->of[dir].content;
	size_t self = v->n;
	mode_t mode;

	*content = view_hash(*content, e->d_name, strlen(e->d_name));
	*content = view_hash(*content, fields, sizeof(fields));
	view_add(v);
	if (look_at(&v->of[self], e->d_name, &mode, err) < 0)
		return -1;
	return S_ISDIR(mode) ? enter(v, self, e->d_name, err) : 0;
}

static void close_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}

static int walk(struct view *v, size_t self, struct error **err)
{
	CLEANUP(close_dir) DIR *d = opendir(".");
	struct dirent *e;

	if (!d)
		return error_set(err, errno, "opendir");
	while ((errno = 0, e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (take_name(v, self, e, err) < 0)
			return error_wrap(err, "%s", e->d_name);
	}
	return errno ? error_set(err, errno, "readdir") : 0;
}

int view_by_kernel(struct view *v, const char *image, char *const *devices, size_t n_devices,
	struct error **err)
{
	CLEANUP_FD int mnt = mount_alone(image, devices, n_devices, err);
	CLEANUP_FD int home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mode_t mode;
	int ret;

	if (mnt < 0)
		return -1;
	if (home < 0 || fchdir(mnt) < 0)
		return error_set(err, errno, "fchdir");
	view_add(v);
	ret = look_at(&v->of[0], ".", &mode, err) < 0 || walk(v, 0, err) < 0 ? -1 : 0;
	if (fchdir(home) < 0 && !ret)
		ret = error_set(err, errno, "fchdir");
	view_sort(v);
	return ret;
}
