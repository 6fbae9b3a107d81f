/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * How the kernel's EROFS reads the blobs that are not complete: what all transports of that kind
 * are to the service. Complete blobs need none: the kernel reads their cache files.
 */
#ifndef SERVE_DEVICE_TRANSPORT_H
#define SERVE_DEVICE_TRANSPORT_H

#include "lib/serve/shared_blob.h"

struct config_cachefiles;
struct keep;

struct device_transport {
	const char *name; /* as --transport says it */
	enum device_kind kind; /* which of shared_blob.attached[] is its own */
	/*
	 * Before a mount that has the blob as a device: what the kernel must open as its device
	 * (the caller frees the path; it may be one of /proc/self/fd, good until detach). From now
	 * on each read of bytes that are not there waits for the engine. For a blob that a former
	 * process had attached and mounted, too: then the path is not used. For one that it has
	 * attached already it gives the path again.
	 */
	int (*attach)(
		struct device_transport *t, struct shared_blob *b, char **path, struct error **err);
	/* No mount has it any more. */
	void (*detach)(struct device_transport *t, struct shared_blob *b);
	/* All of it is there, and on disk. On a thread of the engine; may be NULL. */
	void (*completed)(struct device_transport *t, struct shared_blob *b);
	/* As the engine's (struct served_blob_parts), also of blobs that are not attached; may be
	 * NULL. */
	void (*changed)(
		struct device_transport *t, struct shared_blob *b, uint64_t offset, uint64_t len);
	void (*lost)(struct device_transport *t, struct shared_blob *b);
	/*
	 * Begin to answer, after what a former process has attached is attached again: also what
	 * that one left unanswered.
	 */
	int (*start)(struct device_transport *t, struct error **err);
	/* Ends its threads, lets go of what only this process needs; what the holder keeps stays.
	 * Frees t. */
	void (*close)(struct device_transport *t);
};

/*
 * fanotify pre-content events on the cache files (Linux 6.14, root, ext4, XFS or Btrfs). Adopts the
 * group that `keep` has from a former process. *store_fd is a directory descriptor of `store_dir`
 * through which this process must open all files of the store (store_open_at()): a mount of its
 * own, whose reads and writes raise no events; it is the caller's to close after the transport.
 */
struct device_transport *fanotify_transport_open(
	struct keep *keep, const char *store_dir, int *store_fd, struct error **err);

/* Could it be opened on this store, which is there? If not, *why: the caller frees it. */
bool fanotify_transport_supported(const char *store_dir, char **why);

/*
 * A FUSE filesystem of one file for each blob, mounted nowhere, whose files the kernel's EROFS has
 * as devices (Linux 6.12, root). Reads fail with EIO when nobody serves it. /dev/fuse and the mount
 * are kept by `keep`; a new process goes on with both (FUSE_NOTIFY_RESEND, Linux 6.9).
 */
struct device_transport *fuse_device_transport_open(struct keep *keep, struct error **err);

/* Could it be opened here, as far as can be said before? If not, *why: the caller frees it. */
bool fuse_device_transport_supported(char **why);

/*
 * cachefiles on demand (cachefiles.h). The device is kept by `keep`: a new process goes on with it.
 * Else the cache begins empty, and with what `config` says; NULL: nothing.
 */
struct device_transport *cachefiles_transport_open(struct keep *keep, const char *store_dir,
	const struct config_cachefiles *config, struct error **err);
/* Has a former process left a device to go on with? */
bool cachefiles_transport_was_kept(const struct keep *keep);
/* Is the device there to be opened? If not, *why: the caller frees it. */
bool cachefiles_transport_supported(char **why);

#endif
