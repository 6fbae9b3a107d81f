// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/unpack/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "lib/base/mem.h"
#include "lib/base/remove_tree.h"

#define ACL_DEFAULT "system.posix_acl_default"
#define ACL_ACCESS  "system.posix_acl_access"

static int check_empty(int fd, const char *path, struct error **err)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	unsigned n = 0;

	if (!d) {
		int code = errno;

		if (again >= 0)
			close(again);
		return error_set(err, code, "cannot read the directory %s", path);
	}
	while (n < 3 && readdir(d))
		n++;
	closedir(d);
	if (n <= 2) /* "." and ".." */
		return 0;
	error_set(err, 0, "%s: the directory is not empty", path);
	return error_hint(err, "a new directory, or an empty one");
}

/* Nobody else looks in or meddles, and nothing is inherited from the directory above. */
static void make_private(int fd)
{
	fremovexattr(fd, ACL_DEFAULT);
	fremovexattr(fd, ACL_ACCESS);
	fchmod(fd, 0700);
}

static int use_existing(struct place *p, struct error **err)
{
	char acl[4096];
	struct stat st;
	ssize_t n;

	if (check_empty(p->fd, p->path, err) < 0)
		return -1;
	if (fstat(p->fd, &st) < 0)
		return error_set(err, errno, "cannot look at %s", p->path);
	p->mode = st.st_mode & 07777;
	n = fgetxattr(p->fd, ACL_DEFAULT, acl, sizeof(acl));
	if (n > 0) {
		p->default_acl = xmemdup(acl, (size_t)n);
		p->default_acl_len = (size_t)n;
	}
	p->ours = true;
	make_private(p->fd);
	return 0;
}

static int make_beside(struct place *p, struct error **err)
{
	const char *slash = strrchr(p->path, '/');
	const char *name = slash ? slash + 1 : p->path;
	CLEANUP_FREE char *parent =
		!slash ? xstrdup(".")
		       : xstrndup(p->path, slash == p->path ? 1 : (size_t)(slash - p->path));

	hidden_dir_sweep(parent, name);
	if (hidden_dir_make(&p->hidden, parent, name, err) < 0)
		return -1;
	p->fd = openat(p->hidden.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->fd < 0)
		return error_set(err, errno, "cannot open a directory in %s", parent);
	make_private(p->fd);
	return check_empty(p->fd, p->hidden.path, err);
}

int place_open(struct place *p, const char *path, struct error **err)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	p->path = xstrndup(path, len);
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->fd >= 0)
		return use_existing(p, err);
	if (errno != ENOENT || !len)
		return error_set(err, len ? errno : ENOENT, "cannot unpack into %s", path);
	return make_beside(p, err);
}

int place_finish(struct place *p, struct error **err)
{
	int code = 0;

	if (p->hidden.path) {
		code = hidden_dir_rename(&p->hidden, p->path);
		/* rename() replaces no directory that has something in it */
		if (code == EINVAL && rename(p->hidden.path, p->path) == 0) {
			free(p->hidden.path);
			p->hidden.path = NULL;
			code = 0;
		}
	}
	if (code)
		return error_set(err, code, "cannot give the new directory the name %s", p->path);
	p->finished = true;
	return 0;
}

static void restore(struct place *p)
{
	remove_tree_below(p->fd);
	if (p->default_acl)
		fsetxattr(p->fd, ACL_DEFAULT, p->default_acl, p->default_acl_len, 0);
	fchmod(p->fd, p->mode);
}

void place_free(struct place *p)
{
	if (p->fd >= 0 && !p->finished && p->ours)
		restore(p);
	hidden_dir_free(&p->hidden);
	if (p->fd >= 0)
		close(p->fd);
	free(p->default_acl);
	free(p->path);
	*p = PLACE_NONE;
}
