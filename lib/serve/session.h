/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * An image that is used before its data is there: the bootstrap, verified and validated, and for
 * each device a file to read from, which the engine fills as bytes are wanted.
 */
#ifndef SERVE_SESSION_H
#define SERVE_SESSION_H

#include "lib/bootstrap/read.h"
#include "lib/image/erofs.h"
#include "lib/image/source.h"
#include "lib/serve/engine/engine.h"
#include "lib/serve/shared_blob.h"
#include "lib/store/store.h"

struct session;

/* A device of the image: of a shared blob, of a whole one in the store, or of the image's own. */
struct session_device {
	struct session *session;
	const struct image_layer *layer;
	uint64_t size; /* bytes, uncompressed */
	int fd; /* where its bytes lie, from `offset` on */
	uint64_t offset;
	struct shared_blob *blob; /* NULL: all of them are there */
	struct store_blob *whole; /* NULL: `fd` is the session's own */
	bool attached; /* a device transport has the blob for this session: who set it detaches */
};

struct session {
	struct image_source *image; /* the caller's */
	struct erofs_found found;
	int bootstrap_fd; /* its file, uncompressed */
	struct bootstrap *tree;
	struct session_device *devices; /* found.n_devices, in device-table order */
	struct blob_set *blobs;
	struct blob_set *own_blobs; /* the same, if nobody else's */
	struct blob_source *source; /* the caller's, or its own */
	bool own_source;
};

struct session_options {
	/* NULL: a set of its own, in the store `store` (NULL: the default one), which may take
	 * `store_limit` bytes (0: what the disk has), made when something is compressed. */
	struct blob_set *blobs;
	const char *store;
	uint64_t store_limit;
	/* Where compressed blobs come from; outlives the session. NULL: where the image is. */
	struct blob_source *source;
	/* The image is a registry's, though what is opened is only its manifest, saved. */
	bool remote;
	/* The bootstrap, taken over, as a former process of ours has verified and validated it.
	 * -1: the image has it. */
	int bootstrap_fd;
};
#define SESSION_OPTIONS_DEFAULT ((struct session_options){ .bootstrap_fd = -1 })

/*
 * Everything that can fail, without a thread: manifest, config and bootstrap by their digests, the
 * bootstrap by the validator, the devices by its table. Compressed devices are opened in the store;
 * their chunk indexes are read and verified when the first byte is wanted. Raw devices of a layout
 * are read where they lie, unverified; those of a registry, for which there are no digests of
 * parts, are fetched and verified here, as a whole. `image` outlives the session; its paths are
 * made absolute.
 */
struct session *session_open(
	struct image_source *image, const struct session_options *o, struct error **err);

/* Begin to serve: from now on there are threads. Only for a session with a set of its own. */
int session_start(struct session *s, struct error **err);

/* Fetch all that is missing in the background, whenever nobody wants anything. */
void session_prefetch(struct session *s);

/*
 * Fetch all that is missing, and wait for it. An interrupt (lib/base/interrupt.h) ends that, or
 * *gone (NULL is allowed).
 */
int session_fetch_all(struct session *s, const _Atomic bool *gone, struct error **err);

/* Who needs only the devices from now on. */
void session_forget_tree(struct session *s);

/* Nobody wants anything any more; what was fetched is brought to the disk. NULL is allowed. */
void session_close(struct session *s);

/*
 * Bytes of a device that are there: 0, or the errno. A file that is too short is EIO, never fewer
 * bytes.
 */
int session_read(const struct session_device *d, uint64_t offset, void *buf, size_t len);

/* Must they be waited for? */
static inline bool session_lacks(const struct session_device *d)
{
	return d->blob && !shared_blob_is_complete(d->blob);
}

static inline void cleanup_session_(struct session **s)
{
	session_close(*s);
}
#define CLEANUP_SESSION CLEANUP(cleanup_session_)

#endif
