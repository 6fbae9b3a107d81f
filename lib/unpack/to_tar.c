// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* One pass over the tree; the archive is a function of it, and of nothing else. */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fmt/tar_write.h"
#include "lib/base/mem.h"
#include "lib/base/outfile.h"
#include "lib/base/text.h"
#include "lib/unpack/holes.h"
#include "lib/unpack/links.h"
#include "lib/unpack/unpacking.h"
#include "lib/unpack/walk.h"

#define BUFFER_SIZE (1u << 20)

struct to_tar {
	struct unpacking u;
	struct links links;
	const char *where; /* the file, for messages */
	int fd;
	uint8_t *buf;
	size_t buffered;
	/* The file whose data is being written: where it is in its regions. */
	const struct entry_region *region, *regions_end;
};

/* ---- bytes ---- */

static int write_all(struct to_tar *t, const uint8_t *p, size_t len, struct error **err)
{
	t->u.result->tar_bytes += len;
	while (len) {
		ssize_t n;

		if (unpacking_stopped(&t->u))
			return error_set(err, 0, "interrupted");
		n = write(t->fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return unpacking_write_error(err, n < 0 ? errno : EIO, t->where);
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int flush(struct to_tar *t, struct error **err)
{
	size_t n = t->buffered;

	t->buffered = 0;
	return write_all(t, t->buf, n, err);
}

/* `p` NULL: zeros. */
static int put(struct to_tar *t, const void *p, uint64_t len, struct error **err)
{
	const uint8_t *from = p;

	while (len) {
		size_t room = BUFFER_SIZE - t->buffered, n = len < room ? (size_t)len : room;

		if (from) {
			memcpy(t->buf + t->buffered, from, n);
			from += n;
		} else {
			memset(t->buf + t->buffered, 0, n);
		}
		t->buffered += n;
		len -= n;
		if (t->buffered == BUFFER_SIZE && flush(t, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- what a file holds ---- */

/* The part of [offset, offset + len) that lies in the regions; `p` as for put(). */
static int put_part(
	struct to_tar *t, uint64_t offset, const uint8_t *p, uint64_t len, struct error **err)
{
	uint64_t end = offset + len;

	for (; t->region < t->regions_end && t->region->offset < end; t->region++) {
		uint64_t last = t->region->offset + t->region->length;
		uint64_t from = offset > t->region->offset ? offset : t->region->offset;
		uint64_t to = end < last ? end : last;

		if (from < to && put(t, p ? p + (from - offset) : NULL, to - from, err) < 0)
			return -1;
		if (last > end)
			break;
	}
	return 0;
}

static int put_data(void *arg, uint64_t offset, const uint8_t *p, size_t len, struct error **err)
{
	struct to_tar *t = arg;

	atomic_fetch_add_explicit(&t->u.bytes, len, memory_order_relaxed);
	return put_part(t, offset, p, len, err);
}

static int put_hole(void *arg, uint64_t offset, uint64_t len, struct error **err)
{
	return put_part(arg, offset, NULL, len, err);
}

static int put_content(struct to_tar *t, const struct bootstrap_inode *file, const struct entry *e,
	struct error **err)
{
	const struct content_sink sink = { put_data, put_hole, t };
	const struct entry_region whole = { 0, e->size };
	uint64_t size = 0;

	t->region = e->sparse ? e->regions : &whole;
	t->regions_end = t->region + (e->sparse ? e->n_regions : 1);
	for (const struct entry_region *r = t->region; r < t->regions_end; r++)
		size += r->length;
	if (content_read(&t->u.content, file, false, &sink, err) < 0)
		return -1;
	return put(t, NULL, tar_padding(size), err);
}

/* ---- what an entry says ---- */

struct xattrs {
	struct entry_xattr *v;
	size_t n, cap;
};

static void xattrs_free(struct xattrs *x)
{
	for (size_t i = 0; i < x->n; i++)
		free((char *)(uintptr_t)x->v[i].name);
	free(x->v);
}

static int add_xattr(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct xattrs *all = arg;
	char *name = xasprintf("%s%.*s", x->prefix, (int)x->suffix_len, x->suffix);

	all->v = xgrow(all->v, all->n, &all->cap, sizeof(*all->v));
	all->v[all->n++] = (struct entry_xattr){ name, x->value, x->value_len };
	if (strchr(name, '=')) {
		CLEANUP_FREE char *shown = text_printable(name, strlen(name));

		error_set(err, 0, "xattr %s: a tar cannot say a name with '=' in it", shown);
		return error_hint(err, "unpacking to a directory");
	}
	return 0;
}

static int compare_xattrs(const void *a, const void *b)
{
	return strcmp(((const struct entry_xattr *)a)->name, ((const struct entry_xattr *)b)->name);
}

static int collect_xattrs(
	struct to_tar *t, struct xattrs *x, const struct bootstrap_inode *inode, struct error **err)
{
	if (bootstrap_xattrs(t->u.bootstrap, inode, add_xattr, x, err) < 0)
		return -1;
	if (x->n > 1)
		qsort(x->v, x->n, sizeof(*x->v), compare_xattrs);
	return 0;
}

static bool stopped(void *arg)
{
	return unpacking_stopped(arg);
}

static int put_head(struct to_tar *t, const struct entry *e, struct error **err)
{
	struct tar_head head = tar_head_measure(e);
	CLEANUP_FREE uint8_t *p = NULL;

	if (head.pax_size > TAR_WRITE_PAX_MAX) {
		error_set(
			err, 0, "path and xattrs are longer than the megabyte that a tar can say");
		return error_hint(err, "unpacking to a directory");
	}
	p = xmalloc(head.size);
	tar_head_encode(p, e);
	return put(t, p, head.size, err);
}

static int put_file(
	struct to_tar *t, const struct bootstrap_inode *inode, struct entry *e, struct error **err)
{
	CLEANUP(holes_free) struct holes holes = { 0 };

	e->size = inode->inode.size;
	if (holes_find(&holes, &t->u.content, inode, stopped, &t->u, err) < 0)
		return -1;
	if (holes.matter) {
		e->sparse = true;
		e->regions = holes.regions;
		e->n_regions = holes.n;
	}
	return put_head(t, e, err) < 0 ? -1 : put_content(t, inode, e, err);
}

static int put_symlink(
	struct to_tar *t, const struct bootstrap_inode *inode, struct entry *e, struct error **err)
{
	CLEANUP_FREE char *target = bootstrap_readlink(t->u.bootstrap, inode, err);

	if (!target)
		return -1;
	e->link = target;
	return put_head(t, e, err);
}

/* By the type, if it is one that tar has. */
static int put_typed(
	struct to_tar *t, const struct bootstrap_inode *inode, struct entry *e, struct error **err)
{
	switch (inode->inode.mode & S_IFMT) {
	case S_IFREG:
		e->type = ENTRY_FILE;
		return put_file(t, inode, e, err);
	case S_IFLNK:
		e->type = ENTRY_SYMLINK;
		return put_symlink(t, inode, e, err);
	case S_IFDIR:
		e->type = ENTRY_DIR;
		return put_head(t, e, err);
	case S_IFIFO:
		e->type = ENTRY_FIFO;
		return put_head(t, e, err);
	}
	e->type = S_ISCHR(inode->inode.mode) ? ENTRY_CHAR : ENTRY_BLOCK;
	erofs_decode_dev(inode->inode.u, &e->major, &e->minor);
	return put_head(t, e, err);
}

/* Layers say by such names what is gone: the file would be, too. */
static int check_name(const char *name, struct error **err)
{
	if (strncmp(name, ".wh.", 4) != 0)
		return 0;
	error_set(err, 0, "as a layer, a tar with this name would say that another file is gone");
	return error_hint(err, "unpacking to a directory");
}

static int put_entry(struct to_tar *t, const struct unpack_entry *u, const char *path,
	const char *link, struct error **err)
{
	CLEANUP(xattrs_free) struct xattrs xattrs = { 0 };
	const struct erofs_inode *i = &u->inode->inode;
	struct entry e = { .path = path, .link = link ? link : "" };

	if (i->uid > EROFS_ID_MAX || i->gid > EROFS_ID_MAX)
		return error_set(err, 0, "uid or gid 4294967295");
	if (check_name(u->name, err) < 0 || collect_xattrs(t, &xattrs, u->inode, err) < 0)
		return -1;
	e.mode = i->mode & 07777;
	e.uid = i->uid;
	e.gid = i->gid;
	e.mtime = i->mtime;
	e.mtime_nsec = i->mtime_nsec;
	e.xattrs = xattrs.v;
	e.n_xattrs = xattrs.n;
	if (!link)
		return put_typed(t, u->inode, &e, err);
	/* all of it once more: runtimes set what a link's entry says, a new owner last */
	e.type = ENTRY_HARDLINK;
	return put_head(t, &e, err);
}

static int add_dir(void *arg, const struct unpack_entry *dir, struct error **err)
{
	CLEANUP_FREE char *path = xasprintf("%s/", *dir->path ? dir->path : ".");

	return put_entry(arg, dir, path, NULL, err);
}

static int add_entry(void *arg, const struct unpack_entry *e, struct error **err)
{
	struct to_tar *t = arg;
	struct link_first *first;

	if (S_ISSOCK(e->inode->inode.mode)) {
		t->u.result->left_out.sockets++;
		return 0;
	}
	first = links_find(&t->links, e);
	if (first)
		return put_entry(t, e, e->path, first->path, err);
	links_add(&t->links, e);
	return put_entry(t, e, e->path, NULL, err);
}

static int leave_dir(void *arg, const struct unpack_entry *dir, struct error **err)
{
	(void)arg;
	(void)dir;
	(void)err;
	return 0;
}

/* ---- all of it ---- */

static int put_tree(struct to_tar *t, struct error **err)
{
	const struct unpack_visitor visitor = { add_dir, add_entry, leave_dir, t };
	struct error *job = NULL;

	if (unpack_walk(t->u.bootstrap, &visitor, err) < 0) {
		if (atomic_load(&t->u.failed) && unpacking_wait(&t->u, &job) < 0) {
			error_free(*err);
			*err = job;
		}
		return -1;
	}
	/* whoever reads the end has bytes that were verified */
	if (unpacking_wait(&t->u, err) < 0 || put(t, NULL, TAR_WRITE_END, err) < 0)
		return -1;
	return flush(t, err);
}

static void to_tar_end(struct to_tar *t)
{
	unpacking_end(&t->u);
	links_free(&t->links);
	free(t->buf);
}

static void prepare(struct to_tar *t)
{
	links_init(&t->links);
	t->buf = xmalloc(BUFFER_SIZE);
}

int unpack_to_stream(struct image_source *src, int fd, const struct unpack_options *options,
	struct unpack_result *result, struct error **err)
{
	CLEANUP(to_tar_end)
	struct to_tar t = {
		.u = { .src = src, .options = options, .result = result },
		.fd = fd,
		.where = "the standard output",
	};

	prepare(&t);
	/* what has been written cannot be taken back: so the blobs are verified before */
	if (unpacking_start(&t.u, err) < 0 || unpacking_wait(&t.u, err) < 0)
		return -1;
	return put_tree(&t, err);
}

/* "." for a name alone. */
static char *dir_of(const char *file, const char **name)
{
	const char *slash = strrchr(file, '/');

	*name = slash ? slash + 1 : file;
	if (!slash)
		return xstrdup(".");
	return xstrndup(file, slash == file ? 1 : (size_t)(slash - file));
}

/* An old archive is replaced; a device or a pipe is not what was meant. */
static int check_old(const char *file, struct error **err)
{
	struct stat st;

	if (stat(file, &st) < 0 || S_ISREG(st.st_mode))
		return 0;
	error_set(err, 0, "%s: it exists, and is not a regular file", file);
	return error_hint(err, "'-' for the standard output");
}

int unpack_to_tar(struct image_source *src, const char *file, const struct unpack_options *options,
	struct unpack_result *result, struct error **err)
{
	const char *name;
	CLEANUP_FREE char *dir = dir_of(file, &name);
	CLEANUP_OUTFILE struct outfile *out = NULL;
	CLEANUP(to_tar_end)
	struct to_tar t = {
		.u = { .src = src, .options = options, .result = result },
		.where = file,
	};

	prepare(&t);
	if (check_old(file, err) < 0 || !(out = outfile_new(dir, err)))
		return -1;
	t.fd = outfile_fd(out);
	if (unpacking_start(&t.u, err) < 0)
		return -1;
	if (put_tree(&t, err) < 0)
		return error_wrap(err, "%s", file);
	return outfile_publish(out, dir, name, true, err);
}
