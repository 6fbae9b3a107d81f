// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/unpack/dirfds.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"

/* Levels that stay open: deeper trees close the uppermost ones and find them again by "..". */
#define MAX_OPEN 64

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static int push(struct dirfds *d, int fd, struct error **err)
{
	struct stat st;

	if (fstat(fd, &st) < 0) {
		error_set(err, errno, "cannot look at the directory");
		close(fd);
		return -1;
	}
	d->v = xgrow(d->v, d->n, &d->cap, sizeof(*d->v));
	d->v[d->n++] = (struct dirfds_level){ fd, st.st_dev, st.st_ino };
	if (d->n - d->first_open > MAX_OPEN) {
		close(d->v[d->first_open].fd);
		d->v[d->first_open++].fd = -1;
	}
	return 0;
}

int dirfds_start(struct dirfds *d, int root, struct error **err)
{
	*d = DIRFDS_EMPTY;
	return push(d, root, err);
}

void dirfds_end(struct dirfds *d)
{
	for (size_t i = d->first_open; i < d->n; i++)
		close(d->v[i].fd);
	free(d->v);
	*d = DIRFDS_EMPTY;
}

int dirfds_enter(struct dirfds *d, const char *name, struct error **err)
{
	int fd = openat(dirfds_top(d), name, OPEN_DIR);

	if (fd < 0)
		return error_set(err, errno, "cannot open the directory");
	return push(d, fd, err);
}

/* Up from the last level: it must be where we came from. */
static int reopen_above(struct dirfds *d, struct error **err)
{
	struct dirfds_level *above = &d->v[d->n - 2];
	CLEANUP_FD int fd = openat(dirfds_top(d), "..", OPEN_DIR);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot open the directory above");
	if (st.st_dev != above->dev || st.st_ino != above->ino)
		return error_set(err, 0, "somebody moved the directory meanwhile");
	above->fd = take_fd(&fd);
	d->first_open--;
	return 0;
}

int dirfds_leave(struct dirfds *d, struct error **err)
{
	if (d->n > 1 && d->v[d->n - 2].fd < 0 && reopen_above(d, err) < 0)
		return -1;
	return d->v[--d->n].fd;
}

/* The name at path[at], which ends before `len`. */
static int open_name(int dir, const char *path, size_t at, size_t len)
{
	CLEANUP_FREE char *name = xstrndup(path + at, strcspn(path + at, "/"));

	if (strlen(name) > len - at)
		name[len - at] = '\0';
	return openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int dirfds_open_path(int root, const char *path, size_t len, struct error **err)
{
	CLEANUP_FD int fd = openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	size_t at = 0;

	while (fd >= 0 && at < len) {
		int next = open_name(fd, path, at, len);

		close(fd);
		fd = next;
		at += strcspn(path + at, "/") + 1;
	}
	if (fd < 0)
		return error_set(err, errno, "cannot open a directory that was made before");
	return take_fd(&fd);
}
