// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* What the kernel asks of a filesystem of blobs, mostly to read. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/serve/transport/fuse_answer.h"
#include "lib/serve/transport/fuse_device_part.h"
#include "lib/serve/transport/fuse_part.h"

enum {
	BACKGROUND_MAX = 4096, /* that the kernel asks at once: EROFS waits for none, and all mounts
				  share it */
};

static struct stat stat_of_root(void)
{
	return (struct stat){ .st_ino = FUSE_ROOT_ID, .st_mode = S_IFDIR | 0500, .st_nlink = 2 };
}

static struct stat stat_of_file(const struct device_file *f)
{
	return (struct stat){ .st_ino = f->node,
		.st_mode = S_IFREG | 0400,
		.st_nlink = 1,
		.st_size = (off_t)f->size,
		.st_blksize = 4096,
		.st_blocks = (blkcnt_t)((f->size + 511) / 512) };
}

/* ---- names ---- */

/*
 * A name is looked up for each mount anew: whether it is there changes, and its size is the word of
 * the image that was mounted then.
 */
static void lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_device *d = fuse_req_userdata(req);
	struct fuse_entry_param entry = { .attr_timeout = FUSE_FOREVER };
	struct device_file *f;

	pthread_rwlock_rdlock(&d->lock);
	f = parent == FUSE_ROOT_ID ? device_file_find_name(d, name) : NULL;
	if (f) {
		entry.ino = f->node;
		entry.attr = stat_of_file(f);
	}
	pthread_rwlock_unlock(&d->lock);
	if (f)
		fuse_reply_entry(req, &entry);
	else
		fuse_reply_err(req, ENOENT);
}

static void getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fuse_device *d = fuse_req_userdata(req);
	struct stat st = stat_of_root();
	struct device_file *f;

	(void)fi;
	pthread_rwlock_rdlock(&d->lock);
	f = device_file_find(d, node);
	if (f)
		st = stat_of_file(f);
	pthread_rwlock_unlock(&d->lock);
	if (f || node == FUSE_ROOT_ID)
		fuse_reply_attr(req, &st, FUSE_FOREVER);
	else
		fuse_reply_err(req, ESTALE);
}

/*
 * FUSE keeps what was read in its page cache, though EROFS does so, too: only so does the kernel
 * read ahead from one file of the image to the next, and what has been read once is read without
 * us. The data of a node is one blob's as long as it is attached (add()).
 */
static void open_file(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EROFS);
		return;
	}
	fi->keep_cache = 1;
	fi->noflush = 1; /* or closing it would wait for us */
	fuse_reply_open(req, fi);
}

/* ---- reading ---- */

/* Never fewer bytes than asked for: EROFS takes the rest for zeros. */
static void answer_with(fuse_req_t req, const struct device_file *f, uint64_t offset, size_t len)
{
	char *buf = fuse_answer_buffer(len);
	int code = fuse_answer_read(f->fd, offset, buf, len);

	if (code)
		fuse_reply_err(req, EIO);
	else
		fuse_reply_buf(req, buf, len);
	fuse_answer_done(buf, len);
}

struct reading {
	struct want want; /* first */
	struct fuse_pending pending;
	atomic_uint users; /* who asks, and who answers */
	struct device_file *file;
	uint64_t offset;
	size_t len;
};

static void reading_put(struct reading *r)
{
	if (atomic_fetch_sub(&r->users, 1) > 1)
		return;
	device_file_put(r->file);
	free(r);
}

/* The transport may be gone by now. */
static void arrived(struct want *w, int error)
{
	struct reading *r = (struct reading *)w;

	if (fuse_pending_claim(&r->pending)) {
		if (error)
			fuse_pending_refuse(&r->pending, error);
		else
			answer_with(r->pending.req, r->file, r->offset, r->len);
		fuse_pending_end(&r->pending);
	}
	reading_put(r);
}

static void wait_for_data(
	struct fuse_device *d, fuse_req_t req, struct device_file *f, uint64_t offset, size_t len)
{
	struct reading *r = xzalloc(sizeof(*r));

	*r = (struct reading){ .want.done = arrived, .file = f, .offset = offset, .len = len };
	atomic_init(&r->users, 2);
	atomic_fetch_add(&f->users, 1);
	fuse_pending_begin(
		fuse_connection_pendings(d->connection), &r->pending, req, f->node, offset, len);
	engine_want(f->blob->served, offset, len, &r->want);
	fuse_pending_hurry(&r->pending);
	reading_put(r);
}

/* What is there: it is read without the lock, for that may wait for a disk. */
struct there {
	struct device_file *file; /* NULL: something else was answered, or will be */
	uint64_t offset;
	size_t len;
};

/* With the lock held, so that the blob stays attached until the engine knows of the want. */
static void read_locked(struct fuse_device *d, fuse_req_t req, fuse_ino_t node, size_t size,
	off_t offset, struct there *there)
{
	struct device_file *f = device_file_find(d, node);
	uint64_t from = (uint64_t)offset;

	if (!f || offset < 0) {
		fuse_reply_err(req, EIO);
		return;
	}
	if (from >= f->size || !size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	size = size < f->size - from ? size : (size_t)(f->size - from);
	if (!shared_blob_is_complete(f->blob)) {
		wait_for_data(d, req, f, from, size);
		return;
	}
	atomic_fetch_add(&f->users, 1);
	*there = (struct there){ f, from, size };
}

static void read_file(
	fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct fuse_device *d = fuse_req_userdata(req);
	struct there there = { 0 };

	(void)fi;
	pthread_rwlock_rdlock(&d->lock);
	read_locked(d, req, node, size, offset, &there);
	pthread_rwlock_unlock(&d->lock);
	if (!there.file)
		return;
	answer_with(req, there.file, there.offset, there.len);
	device_file_put(there.file);
}

static void init(void *arg, struct fuse_conn_info *c)
{
	(void)arg;
	c->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	c->max_background = BACKGROUND_MAX;
	c->congestion_threshold = BACKGROUND_MAX / 4 * 3;
}

const struct fuse_lowlevel_ops fuse_device_operations = {
	.init = init,
	.lookup = lookup,
	.getattr = getattr,
	.open = open_file,
	.read = read_file,
};
