// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * This thread makes the names, in the order of the walk; workers fill the files, by descriptors
 * alone. Directories get what they are at the very end, from the bottom up: until then they are
 * ours, whatever mode they will have.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <semaphore.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/unpack/attrs.h"
#include "lib/unpack/dirfds.h"
#include "lib/unpack/links.h"
#include "lib/unpack/place.h"
#include "lib/unpack/unpacking.h"
#include "lib/unpack/walk.h"

#define FILES_PER_JOB 4u /* open and waiting for a worker */

struct to_dir {
	struct unpacking u;
	struct attrs attrs;
	struct place place;
	struct dirfds dirs;
	struct links links;
	sem_t room; /* for more files */
	/* Where the first name of the last hard link lies: often that of the next one. */
	int link_dir;
	char *link_dir_path;
};

/* A regular file that has its name. */
struct file_job {
	struct job job;
	struct to_dir *t;
	int fd;
	uint64_t nid;
	char *path;
	uint64_t end; /* of the data so far */
};

/* ---- on a worker ---- */

static int write_data(void *arg, uint64_t offset, const uint8_t *p, size_t len, struct error **err)
{
	struct file_job *f = arg;

	if (unpacking_stopped(&f->t->u))
		return error_set(err, 0, "interrupted");
	atomic_fetch_add_explicit(&f->t->u.bytes, len, memory_order_relaxed);
	f->end = offset + len;
	while (len) {
		ssize_t n = pwrite(f->fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return unpacking_write_error(err, n < 0 ? errno : EIO, f->t->place.path);
		p += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int leave_hole(void *arg, uint64_t offset, uint64_t len, struct error **err)
{
	(void)offset;
	(void)len;
	return unpacking_stopped(&((struct file_job *)arg)->t->u) ? error_set(err, 0, "interrupted")
								  : 0;
}

static int fill_file(struct file_job *f, struct error **err)
{
	const struct content_sink sink = { write_data, leave_hole, f };
	const struct content *c = &f->t->u.content;
	struct bootstrap_inode inode;
	int holes;

	if (bootstrap_inode(c->bootstrap, f->nid, &inode, err) < 0 ||
		(holes = content_has_holes(c, &inode, err)) < 0 ||
		content_read(c, &inode, holes, &sink, err) < 0)
		return -1;
	if (f->end < inode.inode.size && ftruncate(f->fd, (off_t)inode.inode.size) < 0)
		return unpacking_write_error(err, errno, f->t->place.path);
	return attrs_set(&f->t->attrs, f->fd, NULL, &inode, err);
}

static void run_file(struct job *job)
{
	/* the job comes first in the file */
	struct file_job *f = (struct file_job *)job;
	struct to_dir *t = f->t;
	struct error *e = NULL;
	int rc = unpacking_stopped(&t->u) ? 0 : fill_file(f, &e);

	if (close(f->fd) < 0 && rc == 0) /* where NFS says that the quota is used up */
		rc = unpacking_write_error(&e, errno, t->place.path);
	if (rc < 0) {
		CLEANUP_FREE char *shown = text_printable(f->path, strlen(f->path));

		error_wrap(&e, "/%s", shown);
		unpacking_fail(&t->u, e);
	}
	free(f->path);
	free(f);
	sem_post(&t->room);
}

/* ---- names ---- */

static int enter_dir(void *arg, const struct unpack_entry *dir, struct error **err)
{
	struct to_dir *t = arg;

	if (!*dir->path)
		return 0;
	if (mkdirat(dirfds_top(&t->dirs), dir->name, 0700) < 0)
		return error_set(err, errno, "cannot make the directory");
	return dirfds_enter(&t->dirs, dir->name, err);
}

static int leave_dir(void *arg, const struct unpack_entry *dir, struct error **err)
{
	CLEANUP_FD int fd = dirfds_leave(&((struct to_dir *)arg)->dirs, err);

	(void)dir;
	return fd < 0 ? -1 : 0;
}

static int make_file(struct to_dir *t, const struct unpack_entry *e, struct error **err)
{
	struct file_job *f;
	int fd;

	while (sem_wait(&t->room) < 0 && errno == EINTR)
		;
	fd = openat(dirfds_top(&t->dirs), e->name,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set(err, errno, "cannot make the file");
	f = xmalloc(sizeof(*f));
	*f = (struct file_job){ .job.run = run_file,
		.t = t,
		.fd = fd,
		.nid = e->inode->nid,
		.path = xstrdup(e->path) };
	workers_post(t->u.workers, UNPACK_WRITING, &f->job);
	return 0;
}

static int make_symlink(struct to_dir *t, const struct unpack_entry *e, struct error **err)
{
	CLEANUP_FREE char *target = bootstrap_readlink(t->u.bootstrap, e->inode, err);

	if (!target)
		return -1;
	if (symlinkat(target, dirfds_top(&t->dirs), e->name) < 0)
		return error_set(err, errno, "cannot make the symlink");
	return attrs_set(&t->attrs, dirfds_top(&t->dirs), e->name, e->inode, err);
}

/* 1 when it was left out. */
static int make_node(struct to_dir *t, const struct unpack_entry *e, struct error **err)
{
	mode_t type = e->inode->inode.mode & S_IFMT;
	uint32_t major = 0, minor = 0;

	if (type == S_IFCHR || type == S_IFBLK)
		erofs_decode_dev(e->inode->inode.u, &major, &minor);
	if (mknodat(dirfds_top(&t->dirs), e->name, type | 0600, makedev(major, minor)) == 0)
		return attrs_set(&t->attrs, dirfds_top(&t->dirs), e->name, e->inode, err);
	if (errno != EPERM || t->attrs.exact)
		return error_set(err, errno, "cannot make the %s",
			type == S_IFIFO	   ? "fifo"
			: type == S_IFSOCK ? "socket"
					   : "device");
	return 1;
}

/* The directory of the first name, and in *base its name there. */
static int open_link_dir(
	struct to_dir *t, const struct link_first *first, const char **base, struct error **err)
{
	const char *slash = strrchr(first->path, '/');
	size_t len = slash ? (size_t)(slash - first->path) : 0;

	*base = slash ? slash + 1 : first->path;
	if (t->link_dir >= 0) {
		if (strlen(t->link_dir_path) == len && !memcmp(t->link_dir_path, first->path, len))
			return t->link_dir;
		close(t->link_dir);
		free(t->link_dir_path);
	}
	t->link_dir_path = xstrndup(first->path, len);
	t->link_dir = dirfds_open_path(t->place.fd, first->path, len, err);
	if (t->link_dir < 0) {
		free(t->link_dir_path);
		t->link_dir_path = NULL;
	}
	return t->link_dir;
}

static int make_link(struct to_dir *t, const struct unpack_entry *e, const struct link_first *first,
	struct error **err)
{
	const char *base;
	int dir;

	if (first->left_out) {
		t->u.result->left_out.devices++;
		return 0;
	}
	dir = open_link_dir(t, first, &base, err);
	if (dir < 0)
		return -1;
	if (linkat(dir, base, dirfds_top(&t->dirs), e->name, 0) == 0)
		return 0;
	return error_set(err, errno, "cannot make the hard link");
}

static int make_entry(void *arg, const struct unpack_entry *e, struct error **err)
{
	struct to_dir *t = arg;
	struct link_first *first = links_find(&t->links, e);
	int rc;

	if (atomic_load(&t->u.failed))
		return error_set(err, 0, "stopped"); /* the job's error is the one to show */
	if (first)
		return make_link(t, e, first, err);
	first = links_add(&t->links, e);
	switch (e->inode->inode.mode & S_IFMT) {
	case S_IFREG:
		return make_file(t, e, err);
	case S_IFLNK:
		return make_symlink(t, e, err);
	}
	rc = make_node(t, e, err);
	if (rc <= 0)
		return rc;
	t->u.result->left_out.devices++;
	if (first)
		first->left_out = true;
	return 0;
}

/* ---- what directories are ---- */

static int enter_again(void *arg, const struct unpack_entry *dir, struct error **err)
{
	return *dir->path ? dirfds_enter(&((struct to_dir *)arg)->dirs, dir->name, err) : 0;
}

static int pass_entry(void *arg, const struct unpack_entry *e, struct error **err)
{
	(void)arg;
	(void)e;
	(void)err;
	return 0;
}

static int settle_dir(void *arg, const struct unpack_entry *dir, struct error **err)
{
	struct to_dir *t = arg;
	CLEANUP_FD int fd = dirfds_leave(&t->dirs, err);

	return fd < 0 ? -1 : attrs_set(&t->attrs, fd, NULL, dir->inode, err);
}

/* ---- all of it ---- */

static int walk(struct to_dir *t, const struct unpack_visitor *visitor, struct error **err)
{
	int root = fcntl(t->place.fd, F_DUPFD_CLOEXEC, 0);
	int rc;

	if (root < 0)
		return error_set(err, errno, "cannot open %s again", t->place.path);
	rc = dirfds_start(&t->dirs, root, err);
	if (rc == 0)
		rc = unpack_walk(t->u.bootstrap, visitor, err);
	dirfds_end(&t->dirs);
	return rc;
}

static int make_tree(struct to_dir *t, struct error **err)
{
	const struct unpack_visitor make = { enter_dir, make_entry, leave_dir, t };
	const struct unpack_visitor settle = { enter_again, pass_entry, settle_dir, t };
	struct error *job = NULL;

	if (walk(t, &make, err) < 0) {
		if (!atomic_load(&t->u.failed))
			return -1;
		/* a job's error stopped the walk: that is the one to tell */
		if (unpacking_wait(&t->u, &job) < 0) {
			error_free(*err);
			*err = job;
		}
		return -1;
	}
	return unpacking_wait(&t->u, err) < 0 ? -1 : walk(t, &settle, err);
}

static void take_left_out(struct to_dir *t)
{
	struct unpack_result *r = t->u.result;

	r->left_out.owners = atomic_load(&t->attrs.left.owners);
	r->left_out.modes = atomic_load(&t->attrs.left.modes);
	r->left_out.times = atomic_load(&t->attrs.left.times);
	r->left_out.xattrs = atomic_load(&t->attrs.left.xattrs);
}

static void to_dir_end(struct to_dir *t)
{
	unpacking_end(&t->u); /* no job uses the rest any more */
	if (t->link_dir >= 0)
		close(t->link_dir);
	free(t->link_dir_path);
	links_free(&t->links);
	sem_destroy(&t->room);
	place_free(&t->place);
}

static int unpack(struct to_dir *t, const char *dir, struct error **err)
{
	t->attrs.bootstrap = t->u.bootstrap;
	t->attrs.exact = attrs_may_all();
	if (place_open(&t->place, dir, err) < 0)
		return -1;
	if (make_tree(t, err) < 0)
		return error_wrap(err, "%s", dir);
	return place_finish(&t->place, err);
}

int unpack_to_dir(struct image_source *src, const char *dir, const struct unpack_options *options,
	struct unpack_result *result, struct error **err)
{
	CLEANUP(to_dir_end)
	struct to_dir t = {
		.u = { .src = src, .options = options, .result = result },
		.place = PLACE_NONE,
		.link_dir = -1,
	};

	links_init(&t.links);
	sem_init(&t.room, 0, FILES_PER_JOB * options->jobs);
	if (unpacking_start(&t.u, err) < 0 || unpack(&t, dir, err) < 0)
		return -1;
	take_left_out(&t);
	return 0;
}
