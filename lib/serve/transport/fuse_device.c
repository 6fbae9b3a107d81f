// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Blobs as files of a FUSE filesystem that is mounted nowhere, for the kernel's EROFS to read. It
 * fails closed: without us there are errors, never holes that read as zeros. This process must
 * never read from these files: it would wait for itself.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmt/le.h"
#include "lib/base/mem.h"
#include "lib/base/privilege.h"
#include "lib/mount/context.h"
#include "lib/serve/transport/device_transport.h"
#include "lib/serve/transport/fuse_connection.h"
#include "lib/serve/transport/fuse_part.h"

enum {
	THREADS = 4, /* no request waits on one of them */
	BUCKETS = 1024, /* of digests: they need no hash */
	BACKGROUND_MAX = 4096, /* that the kernel asks at once: EROFS waits for none, and all mounts
				  share it */
};

/* A blob that is attached, or was and is still being read. */
struct device_file {
	fuse_ino_t node;
	char name[DIGEST_MAX_STR];
	struct shared_blob *blob;
	int fd; /* of the cache file; its own, for answers that come late */
	uint64_t size;
	atomic_uint users; /* the table, and each request */
	struct device_file *next; /* in its bucket */
};

struct fuse_device {
	struct device_transport transport; /* first */
	struct fuse_connection *connection;
	int mount;
	pthread_rwlock_t lock; /* writing: the table; reading: blobs in it stay attached */
	struct device_file *buckets[BUCKETS];
};

/* ---- files ---- */

/* The same in each process. 0 is none. */
static fuse_ino_t node_of_digest(const struct digest *d)
{
	uint64_t n = get_le64(d->bytes);

	return n > FUSE_ROOT_ID ? n : n + FUSE_ROOT_ID + 1;
}

static struct device_file **bucket_of(struct fuse_device *d, fuse_ino_t node)
{
	return &d->buckets[node % BUCKETS];
}

static struct device_file *find_locked(struct fuse_device *d, fuse_ino_t node)
{
	struct device_file *f = *bucket_of(d, node);

	while (f && f->node != node)
		f = f->next;
	return f;
}

static struct device_file *find_name_locked(struct fuse_device *d, const char *name)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct device_file *f = d->buckets[i]; f; f = f->next)
			if (strcmp(f->name, name) == 0)
				return f;
	return NULL;
}

static void file_put(struct device_file *f)
{
	if (atomic_fetch_sub(&f->users, 1) > 1)
		return;
	close(f->fd);
	free(f);
}

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

/* ---- requests ---- */

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
	f = parent == FUSE_ROOT_ID ? find_name_locked(d, name) : NULL;
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
	f = find_locked(d, node);
	if (f)
		st = stat_of_file(f);
	pthread_rwlock_unlock(&d->lock);
	if (f || node == FUSE_ROOT_ID)
		fuse_reply_attr(req, &st, FUSE_FOREVER);
	else
		fuse_reply_err(req, ESTALE);
}

/* EROFS has what it reads in its page cache: no second copy in ours. */
static void open_file(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EROFS);
		return;
	}
	fi->direct_io = 1;
	fi->noflush = 1; /* or closing it would wait for us */
	fuse_reply_open(req, fi);
}

/* ---- reading ---- */

/* Never fewer bytes than asked for: EROFS takes the rest for zeros. */
static void answer_with(fuse_req_t req, const struct device_file *f, uint64_t offset, size_t len)
{
	CLEANUP_FREE char *buf = xmalloc(len);

	for (size_t done = 0; done < len;) {
		ssize_t n = pread(f->fd, buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			fuse_reply_err(req, EIO);
			return;
		}
		done += (size_t)n;
	}
	fuse_reply_buf(req, buf, len);
}

struct reading {
	struct want want; /* first */
	struct fuse_pending pending;
	struct device_file *file;
	uint64_t offset;
	size_t len;
};

/* The transport may be gone by now. */
static void arrived(struct want *w, int error)
{
	struct reading *r = (struct reading *)w;

	if (fuse_pending_claim(&r->pending)) {
		if (error)
			fuse_reply_err(r->pending.req, error);
		else
			answer_with(r->pending.req, r->file, r->offset, r->len);
		fuse_pending_end(&r->pending);
	}
	file_put(r->file);
	free(r);
}

static void wait_for_data(
	struct fuse_device *d, fuse_req_t req, struct device_file *f, uint64_t offset, size_t len)
{
	struct reading *r = xzalloc(sizeof(*r));

	*r = (struct reading){ .want.done = arrived, .file = f, .offset = offset, .len = len };
	atomic_fetch_add(&f->users, 1);
	fuse_pending_begin(fuse_connection_pendings(d->connection), &r->pending, req);
	engine_want(f->blob->served, offset, len, &r->want);
}

/* With the lock held, so that the blob stays attached until the engine knows of the want. */
static void read_locked(
	struct fuse_device *d, fuse_req_t req, fuse_ino_t node, size_t size, off_t offset)
{
	struct device_file *f = find_locked(d, node);
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
	if (shared_blob_is_complete(f->blob))
		answer_with(req, f, from, size);
	else
		wait_for_data(d, req, f, from, size);
}

static void read_file(
	fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct fuse_device *d = fuse_req_userdata(req);

	(void)fi;
	pthread_rwlock_rdlock(&d->lock);
	read_locked(d, req, node, size, offset);
	pthread_rwlock_unlock(&d->lock);
}

static void init(void *arg, struct fuse_conn_info *c)
{
	(void)arg;
	c->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	c->max_background = BACKGROUND_MAX;
	c->congestion_threshold = BACKGROUND_MAX / 4 * 3;
}

static const struct fuse_lowlevel_ops device_operations = {
	.init = init,
	.lookup = lookup,
	.getattr = getattr,
	.open = open_file,
	.read = read_file,
};

/* ---- the transport ---- */

static struct fuse_device *device_of(struct device_transport *t)
{
	return (struct fuse_device *)t;
}

static struct device_file *file_new(const struct shared_blob *b, struct error **err)
{
	struct device_file *f = xzalloc(sizeof(*f));

	f->fd = fcntl(b->fd, F_DUPFD_CLOEXEC, 3);
	if (f->fd < 0) {
		error_set(err, errno, "cannot open %s once more", b->path);
		free(f);
		return NULL;
	}
	f->node = node_of_digest(&b->digest);
	digest_hex(&b->digest, f->name);
	f->blob = (struct shared_blob *)b;
	f->size = b->size;
	atomic_init(&f->users, 1);
	return f;
}

static int add(struct fuse_device *d, struct shared_blob *b, struct error **err)
{
	struct device_file *f = file_new(b, err), **bucket;
	bool taken;

	if (!f)
		return -1;
	pthread_rwlock_wrlock(&d->lock);
	taken = find_locked(d, f->node) != NULL;
	if (!taken) {
		bucket = bucket_of(d, f->node);
		f->next = *bucket;
		*bucket = f;
		b->attached[DEVICE_FUSE] = f;
	}
	pthread_rwlock_unlock(&d->lock);
	if (!taken)
		return 0;
	error_set(err, 0, "%s: another blob's digest begins with the same 64 bits", f->name);
	file_put(f);
	return -1;
}

/* The path leads through the mount, which is nowhere else. */
static int attach(
	struct device_transport *t, struct shared_blob *b, char **path, struct error **err)
{
	struct fuse_device *d = device_of(t);
	char hex[DIGEST_MAX_STR];

	*path = NULL;
	if (!b->attached[DEVICE_FUSE] && add(d, b, err) < 0)
		return -1;
	*path = xasprintf("/proc/self/fd/%d/%s", d->mount, digest_hex(&b->digest, hex));
	return 0;
}

static void detach(struct device_transport *t, struct shared_blob *b)
{
	struct fuse_device *d = device_of(t);
	struct device_file *f = b->attached[DEVICE_FUSE], **at;

	if (!f)
		return;
	pthread_rwlock_wrlock(&d->lock);
	for (at = bucket_of(d, f->node); *at != f; at = &(*at)->next)
		;
	*at = f->next;
	b->attached[DEVICE_FUSE] = NULL;
	pthread_rwlock_unlock(&d->lock);
	file_put(f);
}

static int start(struct device_transport *t, struct error **err)
{
	return fuse_connection_start(device_of(t)->connection, err);
}

static void close_transport(struct device_transport *t)
{
	struct fuse_device *d = device_of(t);

	fuse_connection_close(d->connection);
	for (size_t i = 0; i < BUCKETS; i++)
		while (d->buckets[i])
			detach(t, d->buckets[i]->blob);
	pthread_rwlock_destroy(&d->lock);
	if (d->mount >= 0)
		close(d->mount);
	free(d);
}

/* With many readers there is always one: who attaches must not wait for a moment without. */
static void init_lock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

struct device_transport *fuse_device_transport_open(struct keep *keep, struct error **err)
{
	struct fuse_device *d = xzalloc(sizeof(*d));
	const struct fuse_connection_spec spec = { .name = "fuse-device",
		.source = "erofs-convert",
		.attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
		.keep_mount = true,
		.operations = &device_operations,
		.userdata = d,
		.threads = THREADS };

	d->transport = (struct device_transport){ .name = "fuse-device",
		.kind = DEVICE_FUSE,
		.attach = attach,
		.detach = detach,
		.start = start,
		.close = close_transport };
	init_lock(&d->lock);
	d->connection = fuse_connection_open(keep, &spec, &d->mount, err);
	if (d->connection)
		return &d->transport;
	close_transport(&d->transport);
	error_wrap(err, "transport fuse-device");
	return NULL;
}

bool fuse_device_transport_supported(char **why)
{
	CLEANUP_ERROR struct error *err = NULL;
	char release[KERNEL_RELEASE_MAX];

	*why = NULL;
	if (!privilege_is_full_root())
		*why = xstrdup("it needs root");
	else if (kernel_before(6, 12))
		*why = xasprintf("it needs Linux 6.12, this is %s", kernel_release(release));
	else if (fuse_check(&err) < 0)
		*why = xstrdup(err->msg);
	return !*why;
}
