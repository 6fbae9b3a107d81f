/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inside of the fuse-device transport: the blobs that are attached, and the kernel's requests. */
#ifndef SERVE_FUSE_DEVICE_PART_H
#define SERVE_FUSE_DEVICE_PART_H

#include <pthread.h>
#include <stdatomic.h>

#include "lib/serve/transport/device_transport.h"
#include "lib/serve/transport/fuse_connection.h"

enum { DEVICE_BUCKETS = 1024 }; /* of digests: they need no hash */

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
	struct device_file *buckets[DEVICE_BUCKETS];
	struct digest last[DEVICE_BUCKETS]; /* to be attached, of each bucket; only for attach() */
};

/* fuse_device.c: with the lock held; NULL: none */
struct device_file *device_file_find(struct fuse_device *d, fuse_ino_t node);
struct device_file *device_file_find_name(struct fuse_device *d, const char *name);
void device_file_put(struct device_file *f);

/* fuse_device_requests.c */
extern const struct fuse_lowlevel_ops fuse_device_operations; /* with a struct fuse_device */

#endif
