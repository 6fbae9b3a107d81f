/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * cachefiles on demand (Linux 5.19 to 7.1, root): the kernel's EROFS reads objects of a cache of
 * the kernel's own, and asks over /dev/cachefiles for what is not in it. An object is what has its
 * cookie's name: blobs by device_transport's attach(), which gives the cookie as the path, and
 * files of a mount.
 *
 * The cache lies in STORE/cachefiles and lives as long as somebody has the device open: a new one
 * begins empty. So all that is in it was written by this daemon, from bytes that were verified.
 * The store has the same bytes once more: they cost no fetch when the kernel asks, and a new cache
 * is filled from them.
 */
#ifndef SERVE_CACHEFILES_H
#define SERVE_CACHEFILES_H

#include <stdint.h>
#include <sys/types.h>

#include "lib/serve/transport/device_transport.h"

/* The system calls on the device and on objects, for tests to take their place. read() gives 0, or
 * -1 with EAGAIN, when there is nothing (more). */
struct cachefiles_ops {
	ssize_t (*read)(int dev, void *buf, size_t len);
	ssize_t (*write)(int dev, const void *buf, size_t len);
	int (*complete)(int object, uint32_t message);
};

/* The transport on a device that is bound already, and taken over. `dir`: the cache's, or NULL. */
struct device_transport *cachefiles_new(
	int dev, const char *dir, const char *domain, const struct cachefiles_ops *ops);

/* What images share blobs in: one for each cache, another one after a new start. */
const char *cachefiles_domain(const struct device_transport *t);

/* An object that is a file of a mount. */
struct cachefiles_file {
	const char *cookie; /* at most CACHEFILES_COOKIE_MAX bytes */
	int fd; /* copied */
	uint64_t offset, data; /* its bytes, which are all there */
	uint64_t size; /* of the object; what is behind the data is zeros */
	bool at_once; /* give all of the data when the first byte is asked for */
};
#define CACHEFILES_COOKIE_MAX 64

int cachefiles_add_file(
	struct device_transport *t, const struct cachefiles_file *f, struct error **err);
/* What of it is in the cache goes, too, once the kernel has let go of it. */
void cachefiles_remove_file(struct device_transport *t, const char *cookie);

/* Has the kernel had the file open, and closed it? It says so of a mount that goes, unless nothing
 * of it was read since a former process served it. */
bool cachefiles_was_closed(struct device_transport *t, const char *cookie);

#endif
