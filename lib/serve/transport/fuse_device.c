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
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fmt/le.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/privilege.h"
#include "lib/mount/context.h"
#include "lib/serve/transport/fuse.h"
#include "lib/serve/transport/fuse_device_part.h"

enum {
	THREADS = 4, /* at most; no request waits for data on one of them */
	READ_AHEAD = 1024, /* KiB; libfuse takes no larger requests */
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
	return &d->buckets[node % DEVICE_BUCKETS];
}

struct device_file *device_file_find(struct fuse_device *d, fuse_ino_t node)
{
	struct device_file *f = *bucket_of(d, node);

	while (f && f->node != node)
		f = f->next;
	return f;
}

struct device_file *device_file_find_name(struct fuse_device *d, const char *name)
{
	for (size_t i = 0; i < DEVICE_BUCKETS; i++)
		for (struct device_file *f = d->buckets[i]; f; f = f->next)
			if (strcmp(f->name, name) == 0)
				return f;
	return NULL;
}

void device_file_put(struct device_file *f)
{
	if (atomic_fetch_sub(&f->users, 1) > 1)
		return;
	close(f->fd);
	free(f);
}

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

/*
 * The kernel may have pages of another blob whose digest begins with the same 64 bits. To drop them
 * waits for reads that are under way; so not when the last one at this node was the same blob.
 */
static void drop_old_data(struct fuse_device *d, const struct device_file *f)
{
	struct digest *last = &d->last[f->node % DEVICE_BUCKETS];

	if (digest_equal(last, &f->blob->digest))
		return;
	*last = f->blob->digest;
	fuse_connection_drop_data(d->connection, f->node);
}

static int add(struct fuse_device *d, struct shared_blob *b, struct error **err)
{
	struct device_file *f = file_new(b, err), **bucket;
	bool taken;

	if (!f)
		return -1;
	drop_old_data(d, f);
	pthread_rwlock_wrlock(&d->lock);
	taken = device_file_find(d, f->node) != NULL;
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
	device_file_put(f);
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
	device_file_put(f);
}

/*
 * How far the kernel reads ahead, for those who open files from now on: the files of an image are
 * small, and lie one after the other. Only when somebody answers: fstat() asks us. Without it
 * (no /sys, or one that is read-only) it is 128 KiB, and slower.
 */
static void read_ahead(const struct fuse_device *d)
{
	CLEANUP_FREE char *path = NULL;
	CLEANUP_FD int fd = -1;
	struct stat st;

	if (d->mount < 0 || fstat(d->mount, &st) < 0)
		return;
	path = xasprintf("/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || dprintf(fd, "%d", READ_AHEAD) < 0)
		log_debug("transport fuse-device: %s: %s; the kernel reads ahead less", path,
			strerror(errno));
}

static int start(struct device_transport *t, struct error **err)
{
	struct fuse_device *d = device_of(t);

	if (fuse_connection_start(d->connection, err) < 0)
		return -1;
	read_ahead(d);
	return 0;
}

static void close_transport(struct device_transport *t)
{
	struct fuse_device *d = device_of(t);

	fuse_connection_close(d->connection);
	for (size_t i = 0; i < DEVICE_BUCKETS; i++)
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
		.operations = &fuse_device_operations,
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
