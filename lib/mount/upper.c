// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/upper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/outfile.h"
#include "lib/base/remove_tree.h"
#include "lib/mount/copy_root.h"
#include "lib/mount/overlay.h"

#define OVERLAYFS_SUPER_MAGIC 0x794c7630u
#define RECORD		      "image"
#define RECORD_HEAD	      "erofs-convert: changes of "
#define PROBE_XATTR	      "trusted.erofs-convert"
#define LEFT		      "unmounted" /* umount could not remove it yet */

static int open_dir(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int suggest_filesystem(struct error **err)
{
	return error_hint(err, "--upper DIR on ext4, XFS, Btrfs or tmpfs");
}

/* --- the record ----------------------------------------------------------------------- */

enum record { RECORD_NONE, RECORD_FOUND, RECORD_BAD };

static enum record read_record(int dir, struct digest *image)
{
	static const size_t head = sizeof(RECORD_HEAD) - 1;
	CLEANUP_FD int fd = openat(dir, RECORD, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	CLEANUP_ERROR struct error *err = NULL;
	char text[sizeof(RECORD_HEAD) + DIGEST_MAX_STR];
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? RECORD_NONE : RECORD_BAD;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0 || (size_t)n <= head || memcmp(text, RECORD_HEAD, head) != 0)
		return RECORD_BAD;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return digest_parse(image, text + head, &err) == 0 ? RECORD_FOUND : RECORD_BAD;
}

static int write_record(const struct upper *u, const struct digest *image, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *f = outfile_new(u->dir, err);
	char digest[DIGEST_MAX_STR];
	CLEANUP_FREE char *text = NULL;

	if (!f)
		return -1;
	text = xasprintf(RECORD_HEAD "%s\n", digest_format(image, digest));
	if (outfile_pwrite(f, text, strlen(text), 0, err) < 0)
		return -1;
	return outfile_publish(f, u->dir, RECORD, true, err);
}

/* --- what is there -------------------------------------------------------------------- */

/* True when the name is free, or was an empty directory, which is removed. */
static bool is_free(int dir, const char *name)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT;
	return unlinkat(dir, name, AT_REMOVEDIR) == 0;
}

static int unknown_content(const struct upper *u, const char *name, struct error **err)
{
	error_set(err, 0, "%s/%s is there already, and not by `mount --rw`", u->dir, name);
	return error_hint(err, "a directory of its own for the changes of each image");
}

static int another_image(const struct upper *u, const struct digest *has, struct error **err)
{
	char digest[DIGEST_MAX_STR];

	error_set(err, 0, "%s holds changes of another image, that of the bootstrap %s", u->dir,
		digest_format(has, digest));
	return error_hint(err, "a directory of its own for the changes of each image");
}

/* Sets `fresh`, which means that it may be removed; refuses what others may have put there. */
static int look_at(struct upper *u, const struct digest *image, struct error **err)
{
	struct digest has;
	struct stat st;

	switch (read_record(u->dir_fd, &has)) {
	case RECORD_NONE:
		if (!is_free(u->dir_fd, "upper"))
			return unknown_content(u, "upper", err);
		if (!is_free(u->dir_fd, "work"))
			return unknown_content(u, "work", err);
		u->fresh = true;
		return 0;
	case RECORD_BAD:
		return unknown_content(u, RECORD, err);
	case RECORD_FOUND:
		/* without upper, a mount was killed before it held any change */
		u->fresh = fstatat(u->dir_fd, "upper", &st, AT_SYMLINK_NOFOLLOW) < 0;
		return u->fresh || digest_equal(&has, image) ? 0 : another_image(u, &has, err);
	}
	return -1;
}

static int check_filesystem(const struct upper *u, struct error **err)
{
	struct statfs fs;

	if (fstatfs(u->dir_fd, &fs) < 0)
		return error_set(err, errno, "cannot look at %s", u->dir);
	if ((uint32_t)fs.f_type != OVERLAYFS_SUPER_MAGIC)
		return 0;
	error_set(err, 0, "%s lies on overlayfs, which cannot hold another overlay's changes",
		u->dir);
	return suggest_filesystem(err);
}

/* Without these overlayfs mounts all the same, as something that is no container root. */
static int check_abilities(const struct upper *u, struct error **err)
{
	if (fsetxattr(u->work_fd, PROBE_XATTR, "1", 1, 0) < 0) {
		error_set(
			err, errno, "the filesystem of %s does not take trusted.* xattrs", u->dir);
		return suggest_filesystem(err);
	}
	fremovexattr(u->work_fd, PROBE_XATTR);
	if (mknodat(u->work_fd, "whiteout", S_IFCHR, 0) < 0) {
		error_set(err, errno, "the filesystem of %s does not take device nodes", u->dir);
		return suggest_filesystem(err);
	}
	unlinkat(u->work_fd, "whiteout", 0);
	return 0;
}

/* --- making it ------------------------------------------------------------------------ */

static int make_temporary(struct upper *u, struct error **err)
{
	upper_sweep();
	u->dir = xstrdup(UPPER_TEMPORARY_DIR "/XXXXXX");
	if ((mkdir(UPPER_STATE_DIR, 0755) < 0 && errno != EEXIST) ||
		(mkdir(UPPER_TEMPORARY_DIR, 0700) < 0 && errno != EEXIST) || !mkdtemp(u->dir)) {
		error_set(err, errno, "cannot make a directory in %s", UPPER_TEMPORARY_DIR);
		return suggest_filesystem(err);
	}
	u->made_dir = true;
	return 0;
}

/*
 * Closed to others when we make it: programs that have got the setuid bit must not be
 * reachable past the mount.
 */
static int make_named(struct upper *u, const char *dir, struct error **err)
{
	if (mkdir(dir, 0700) == 0)
		u->made_dir = true;
	else if (errno != EEXIST)
		return error_set(err, errno, "cannot make the directory %s", dir);
	u->dir = realpath(dir, NULL);
	return u->dir ? 0 : error_set(err, errno, "cannot look at %s", dir);
}

static int open_and_lock(struct upper *u, struct error **err)
{
	u->dir_fd = open_dir(AT_FDCWD, u->dir);
	if (u->dir_fd < 0)
		return error_set(err, errno, "cannot open %s", u->dir);
	if (flock(u->dir_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	error_set(err, errno, "cannot lock %s", u->dir);
	return error_hint(err, "again: another process is mounting it");
}

static int open_work(struct upper *u, struct error **err)
{
	if (mkdirat(u->dir_fd, "work", 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s", u->work_path);
	u->work_fd = open_dir(u->dir_fd, "work");
	if (u->work_fd < 0)
		return error_set(err, errno, "cannot open %s", u->work_path);
	if (u->fresh)
		remove_tree_below(u->work_fd);
	return check_abilities(u, err);
}

/* Under its name only once it looks as the image's root does. */
static int make_upper(const struct upper *u, int root, struct error **err)
{
	CLEANUP_FD int fd = -1;

	if (mkdirat(u->work_fd, "upper", 0700) == 0)
		fd = open_dir(u->work_fd, "upper");
	if (fd < 0)
		return error_set(err, errno, "cannot make %s", u->upper_path);
	if (copy_root(root, fd, err) < 0)
		return error_wrap(err, "%s", u->upper_path);
	if (renameat(u->work_fd, "upper", u->dir_fd, "upper") < 0)
		return error_set(err, errno, "cannot make %s", u->upper_path);
	return 0;
}

static int begin(struct upper *u, const struct digest *image, int root, struct error **err)
{
	if (open_and_lock(u, err) < 0 || check_filesystem(u, err) < 0 || look_at(u, image, err) < 0)
		return -1;
	if (u->fresh && write_record(u, image, err) < 0)
		return -1;
	if (open_work(u, err) < 0 || (u->fresh && make_upper(u, root, err) < 0))
		return -1;
	u->upper_fd = open_dir(u->dir_fd, "upper");
	return u->upper_fd < 0 ? error_set(err, errno, "cannot open %s", u->upper_path) : 0;
}

int upper_begin(
	struct upper *u, const char *dir, const struct digest *image, int root, struct error **err)
{
	*u = UPPER_NONE;
	if ((dir ? make_named(u, dir, err) : make_temporary(u, err)) < 0)
		return -1;
	u->upper_path = xasprintf("%s/upper", u->dir);
	u->work_path = xasprintf("%s/work", u->dir);
	return begin(u, image, root, err);
}

/* --- the end -------------------------------------------------------------------------- */

static void remove_below(int dir, const char *name)
{
	CLEANUP_FD int fd = open_dir(dir, name);

	if (fd < 0)
		return;
	remove_tree_below(fd);
	unlinkat(dir, name, AT_REMOVEDIR);
}

static void remove_made(struct upper *u)
{
	if (u->fresh) {
		remove_below(u->dir_fd, "upper");
		remove_below(u->dir_fd, "work");
		unlinkat(u->dir_fd, RECORD, 0);
	}
	if (u->made_dir)
		rmdir(u->dir);
}

void upper_end(struct upper *u)
{
	if (!u->keep && u->dir)
		remove_made(u);
	cleanup_fd_(&u->upper_fd);
	cleanup_fd_(&u->work_fd);
	cleanup_fd_(&u->dir_fd);
	free(u->upper_path);
	free(u->work_path);
	free(u->dir);
	*u = UPPER_NONE;
}

bool upper_is_temporary(const char *path)
{
	static const char head[] = UPPER_TEMPORARY_DIR "/";
	const char *name = path + sizeof(head) - 1, *end;

	if (strncmp(path, head, sizeof(head) - 1) != 0 || *name == '.' || *name == '/')
		return false;
	end = strchr(name, '/');
	return end && !strcmp(end, "/upper");
}

/*
 * A bind mount or another mount namespace may keep the overlay: then the kernel refuses a
 * second one on the same directories, with EBUSY. 0: it takes one; or another errno value.
 */
static int probe(const struct upper *u)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FD int lower = -1, mount = -1;

	mkdirat(u->dir_fd, "lower", 0700);
	lower = open_dir(u->dir_fd, "lower");
	mount = overlay_mount(&(struct overlay){ .lower = lower,
				      .upper = u->upper_fd,
				      .work = u->work_fd,
				      .upper_path = u->upper_path,
				      .work_path = u->work_path,
				      .source = "none" },
		&err);
	unlinkat(u->dir_fd, "lower", AT_REMOVEDIR);
	return err ? (err->code ? err->code : EIO) : 0;
}

/* False when it is not what upper_begin() has made there. */
static bool open_temporary(struct upper *u, const char *path)
{
	struct digest image;

	u->keep = true;
	u->upper_path = xstrdup(path);
	u->dir = xstrndup(path, strlen(path) - strlen("/upper"));
	u->work_path = xasprintf("%s/work", u->dir);
	u->dir_fd = open_dir(AT_FDCWD, u->dir);
	if (u->dir_fd < 0 || read_record(u->dir_fd, &image) != RECORD_FOUND)
		return false;
	u->upper_fd = open_dir(u->dir_fd, "upper");
	u->work_fd = open_dir(u->dir_fd, "work");
	return u->upper_fd >= 0 && u->work_fd >= 0;
}

static int remove_dir(const struct upper *u)
{
	remove_tree_below(u->dir_fd);
	return rmdir(u->dir);
}

static void mark_left(const struct upper *u)
{
	CLEANUP_FD int fd = openat(
		u->dir_fd, LEFT, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

	if (fd < 0)
		log_debug("cannot note in %s that it is unmounted: %s", u->dir, strerror(errno));
}

int upper_discard(const char *path, struct error **err)
{
	CLEANUP_UPPER struct upper u = UPPER_NONE;

	if (!open_temporary(&u, path)) {
		log_debug("%s is not there: nothing to remove", path);
		return 0;
	}
	if (probe(&u) == EBUSY) {
		mark_left(&u);
		log_warn("%s stays: the overlay is still mounted elsewhere", u.dir);
		return 0;
	}
	if (remove_dir(&u) == 0)
		return 0;
	error_set(err, errno, "it is unmounted, but its changes cannot be removed from %s", u.dir);
	return error_hint(err, "rm -r %s", u.dir);
}

/* A bind mount, or a namespace that was about to die, may be gone by now. */
static void sweep_one(const char *name)
{
	CLEANUP_FREE char *path = xasprintf(UPPER_TEMPORARY_DIR "/%s/upper", name);
	CLEANUP_UPPER struct upper u = UPPER_NONE;
	int code;

	if (!open_temporary(&u, path) || faccessat(u.dir_fd, LEFT, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (flock(u.dir_fd, LOCK_EX | LOCK_NB) < 0)
		return;
	code = probe(&u); /* ESTALE: they are in nobody's use, but changes of another directory */
	if (code != 0 && code != ESTALE)
		return;
	if (remove_dir(&u) < 0)
		log_debug("%s stays: %s", u.dir, strerror(errno));
}

void upper_sweep(void)
{
	DIR *d = opendir(UPPER_TEMPORARY_DIR);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			sweep_one(e->d_name);
	if (d)
		closedir(d);
}
