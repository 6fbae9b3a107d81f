// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Depth costs nothing, because a directory inside of another one is first moved up beside it:
 * there are only ever two levels to look at.
 */
#include "config.h"

#include "lib/base/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"

static void cleanup_closedir_(DIR **d)
{
	if (*d)
		closedir(*d);
}

static DIR *open_dir(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !d)
		close(fd);
	return d;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Directories move to `top`, under a name that is not taken. */
static void move_up(int from, const char *name, int top, unsigned long *count)
{
	char to[40];

	for (int tries = 0; tries < 1000; tries++) {
		snprintf(to, sizeof(to), ".moved-%lu", (*count)++);
		if (renameat2(from, name, top, to, RENAME_NOREPLACE) == 0)
			return;
		if (errno == EACCES) /* ".." in it is rewritten */
			fchmodat(from, name, 0700, AT_SYMLINK_NOFOLLOW);
		else if (errno != EEXIST)
			break;
	}
	/* no RENAME_NOREPLACE there: rename() replaces empty directories at most */
	renameat(from, name, top, to);
}

static void empty_dir(int top, const char *name, unsigned long *count)
{
	CLEANUP(cleanup_closedir_) DIR *d = NULL;
	struct dirent *e;

	fchmodat(top, name, 0700, AT_SYMLINK_NOFOLLOW);
	d = open_dir(top, name);
	while (d && (e = readdir(d)))
		if (!is_dots(e->d_name) && unlinkat(dirfd(d), e->d_name, 0) < 0)
			move_up(dirfd(d), e->d_name, top, count);
}

/* One pass; how many entries it got rid of. */
static unsigned long remove_once(int top, unsigned long *count)
{
	/* a description of its own: the caller's has a position and perhaps a lock */
	CLEANUP(cleanup_closedir_) DIR *d = open_dir(top, ".");
	unsigned long removed = 0;
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (is_dots(e->d_name))
			continue;
		if (unlinkat(top, e->d_name, 0) == 0) {
			removed++;
			continue;
		}
		empty_dir(top, e->d_name, count);
		removed += unlinkat(top, e->d_name, AT_REMOVEDIR) == 0;
	}
	return removed;
}

void remove_tree_below(int fd)
{
	unsigned long count = 0;

	while (remove_once(fd, &count))
		;
}
