// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/hidden_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/base/outfile.h"
#include "lib/base/remove_tree.h"

static bool refuse_rename;

void hidden_dir_test_refuse_rename(bool refuse)
{
	refuse_rename = refuse;
}

/* With the letters at the end, a name of 255 bytes still fits. */
static char *prefix_of(const char *name)
{
	return xasprintf(".%.200s.erofs-convert-", name);
}

static bool is_still_named(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* As with outfile's hidden names: who gets the lock late looks whether the name is there. */
static bool lock_made(int fd, const char *path)
{
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return false;
	return is_still_named(fd, path);
}

int hidden_dir_make(struct hidden_dir *h, const char *parent, const char *name, struct error **err)
{
	CLEANUP_FREE char *prefix = prefix_of(name);

	*h = HIDDEN_DIR_NONE;
	for (int tries = 0; tries < 100; tries++) {
		char letters[OUTFILE_RANDOM + 1];
		CLEANUP_FREE char *path = NULL;
		CLEANUP_FD int fd = -1;

		outfile_random_name(letters);
		path = xasprintf("%s/%s%s", parent, prefix, letters);
		if (mkdir(path, 0777) < 0) {
			if (errno == EEXIST)
				continue;
			return error_set(err, errno, "cannot make a directory in %s", parent);
		}
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || !lock_made(fd, path)) {
			rmdir(path); /* or the sweeper that has the lock did */
			continue;
		}
		h->path = take_ptr(path);
		h->fd = take_fd(&fd);
		return 0;
	}
	return error_set(err, EEXIST, "cannot make a directory in %s", parent);
}

int hidden_dir_rename(struct hidden_dir *h, const char *to)
{
	if (refuse_rename)
		return EINVAL;
	if (renameat2(AT_FDCWD, h->path, AT_FDCWD, to, RENAME_NOREPLACE) < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP ? EINVAL : errno;
	free(h->path);
	h->path = NULL;
	return 0;
}

static void remove_locked(int fd, const char *path)
{
	remove_tree_below(fd);
	rmdir(path);
}

void hidden_dir_free(struct hidden_dir *h)
{
	if (h->path)
		remove_locked(h->fd, h->path);
	if (h->fd >= 0)
		close(h->fd);
	free(h->path);
	*h = HIDDEN_DIR_NONE;
}

static void sweep_one(const char *parent, const char *name)
{
	CLEANUP_FREE char *path = xasprintf("%s/%s", parent, name);
	CLEANUP_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && is_still_named(fd, path))
		remove_locked(fd, path);
}

void hidden_dir_sweep(const char *parent, const char *name)
{
	CLEANUP_FREE char *prefix = prefix_of(name);
	size_t n = strlen(prefix);
	DIR *d = opendir(parent);
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)))
		if (strncmp(e->d_name, prefix, n) == 0 && strlen(e->d_name) == n + OUTFILE_RANDOM)
			sweep_one(parent, e->d_name);
	closedir(d);
}
