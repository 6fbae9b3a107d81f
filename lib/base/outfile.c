// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The lock decides who may remove a hidden name: its owner holds flock() on it as long as it
 * lives, and the kernel drops the lock with the process. A sweeper removes a name only while it
 * holds that lock; an owner that gets the lock late looks whether its name is still there.
 */
#include "config.h"

#include "lib/base/outfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "lib/base/mem.h"

#define TEMP_PREFIX ".erofs-convert-"
#define TEMP_SUFFIX ".tmp"

static bool force_names;

struct outfile {
	int fd;
	char *dir; /* where it was made */
	char *temp; /* its hidden path, or NULL: it has no name */
	bool published;
};

void outfile_test_force_names(bool force)
{
	force_names = force;
}

void outfile_random_name(char name[static OUTFILE_RANDOM + 1])
{
	static const char letters[32] = "abcdefghijklmnopqrstuvwxyz234567";
	uint8_t r[OUTFILE_RANDOM] = { 0 };

	if (getrandom(r, sizeof(r), 0) != sizeof(r))
		memset(r, 0, sizeof(r)); /* the caller tries again while the name is taken */
	for (size_t i = 0; i < OUTFILE_RANDOM; i++)
		name[i] = letters[r[i] & 31];
	name[OUTFILE_RANDOM] = '\0';
}

static char *random_path(const char *dir)
{
	char name[OUTFILE_RANDOM + 1];

	outfile_random_name(name);
	return xasprintf("%s/" TEMP_PREFIX "%s" TEMP_SUFFIX, dir, name);
}

bool outfile_is_hidden_name(const char *name)
{
	return strlen(name) == strlen(TEMP_PREFIX TEMP_SUFFIX) + OUTFILE_RANDOM &&
	       strncmp(name, TEMP_PREFIX, strlen(TEMP_PREFIX)) == 0 &&
	       strcmp(name + strlen(TEMP_PREFIX) + OUTFILE_RANDOM, TEMP_SUFFIX) == 0;
}

/* Filesystems without locks answer otherwise than EWOULDBLOCK: nobody sweeps there. */
static bool lock_taken_by_another(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static bool is_still_named(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static int write_error(struct error **err, int code, const char *what, const char *dir)
{
	error_set(err, code, "cannot %s in %s", what, dir);
	if (code == ENOSPC)
		error_hint(err, "free space on the filesystem of %s, or write elsewhere", dir);
	else if (code == EDQUOT)
		error_hint(err,
			"the disk quota on the filesystem of %s is used up; free space, "
			"or write elsewhere",
			dir);
	return -1;
}

/*
 * A file under a hidden name. Between open() and flock() a sweeper may have taken it for a
 * dead process's and removed it: then another name is tried.
 */
static int open_hidden(const char *dir, char **temp)
{
	for (int tries = 0; tries < 100; tries++) {
		CLEANUP_FREE char *path = random_path(dir);
		CLEANUP_FD int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0)
			return -1;
		if (lock_taken_by_another(fd) || !is_still_named(fd, path))
			continue; /* the sweeper that has the lock removes it */
		*temp = take_ptr(path);
		return take_fd(&fd);
	}
	errno = EEXIST;
	return -1;
}

/*
 * O_TMPFILE is refused with EOPNOTSUPP by a filesystem that lacks it, with EISDIR or ENOENT by
 * a kernel or a layer that does not know the flag (open(2)). An unnamed file gets its name
 * through /proc; where that is not mounted, better to know it now than after the work.
 */
static int open_unnamed(const char *dir)
{
	if (force_names || access("/proc/self/fd", X_OK) < 0) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
}

struct outfile *outfile_new(const char *dir, struct error **err)
{
	struct outfile *o;
	char *temp = NULL;
	int fd = open_unnamed(dir);

	if (fd < 0 &&
		(errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL))
		fd = open_hidden(dir, &temp);
	if (fd < 0) {
		write_error(err, errno, "make a file", dir);
		return NULL;
	}
	o = xzalloc(sizeof(*o));
	o->fd = fd;
	o->dir = xstrdup(dir);
	o->temp = temp;
	return o;
}

int outfile_fd(const struct outfile *o)
{
	return o->fd;
}

int outfile_pwrite(
	struct outfile *o, const void *p, size_t len, uint64_t offset, struct error **err)
{
	const char *at = p;

	while (len) {
		ssize_t n = pwrite(o->fd, at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return write_error(err, n < 0 ? errno : EIO, "write", o->dir);
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* linkat(2) shows this way in for callers without CAP_DAC_READ_SEARCH. */
static int link_unnamed(int fd, const char *path)
{
	char proc[64];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, proc, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

/* Give an unnamed file a hidden name, so that it can be renamed over another. */
static int name_unnamed(struct outfile *o, const char *dir)
{
	flock(o->fd, LOCK_EX | LOCK_NB); /* nobody else can know the file yet */
	for (int tries = 0; tries < 100; tries++) {
		CLEANUP_FREE char *path = random_path(dir);

		if (link_unnamed(o->fd, path) == 0) {
			o->temp = take_ptr(path);
			return 0;
		}
		if (errno != EEXIST)
			return -1;
	}
	return -1;
}

/* rename(), but never over an existing file; on old filesystems as near as they come to it. */
static int rename_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
		return -1;
	if (link(from, to) == 0)
		return unlink(from);
	if (errno == EEXIST || errno == ENOSPC || errno == EDQUOT)
		return -1;
	if (access(to, F_OK) == 0) { /* no hard links here (FAT) */
		errno = EEXIST;
		return -1;
	}
	return rename(from, to);
}

/* After a power failure the name must not lead to an empty file where a whole one was. */
static int replace(struct outfile *o, const char *dir, const char *path)
{
	if (fsync(o->fd) < 0)
		return -1;
	if (!o->temp && name_unnamed(o, dir) < 0)
		return -1;
	return rename(o->temp, path);
}

static int publish_new(struct outfile *o, const char *path)
{
	int rc = o->temp ? rename_new(o->temp, path) : link_unnamed(o->fd, path);

	if (rc < 0 && errno == EEXIST) {
		if (o->temp)
			unlink(o->temp);
		return 0;
	}
	return rc;
}

int outfile_publish(
	struct outfile *o, const char *dir, const char *name, bool replace_old, struct error **err)
{
	CLEANUP_FREE char *path = xasprintf("%s/%s", dir, name);

	if ((replace_old ? replace(o, dir, path) : publish_new(o, path)) < 0) {
		write_error(err, errno, "publish a file", dir);
		return error_wrap(err, "%s", name);
	}
	o->published = true;
	return 0;
}

void outfile_free(struct outfile *o)
{
	if (!o)
		return;
	if (o->temp && !o->published)
		unlink(o->temp);
	close(o->fd);
	free(o->dir);
	free(o->temp);
	free(o);
}

static void sweep_one(const char *dir, const char *name)
{
	CLEANUP_FREE char *path = xasprintf("%s/%s", dir, name);
	CLEANUP_FD int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && is_still_named(fd, path))
		unlink(path);
}

void outfile_sweep(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)))
		if (outfile_is_hidden_name(e->d_name))
			sweep_one(dir, e->d_name);
	closedir(d);
}
