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
#include "lib/store/store.h"

struct session;

/* A device of the image. */
struct session_device {
	struct session *session;
	const struct image_layer *layer;
	uint64_t size; /* bytes, uncompressed */
	int fd; /* where its bytes lie, from `offset` on */
	uint64_t offset;
	struct served_blob *blob; /* NULL: all of them are there */
	struct store_blob *cache; /* until the engine has it */
};

struct session {
	struct image_source *image; /* the caller's */
	struct erofs_found found;
	struct bootstrap *tree;
	struct session_device *devices; /* found.n_devices, in device-table order */
	struct store *store; /* NULL when nothing is compressed */
	uint64_t store_limit; /* bytes that it may take; 0: no limit but the disk's */
	struct blob_source *source; /* the same */
	struct engine *engine;
};

/*
 * Everything that can fail, without a thread: manifest, config and bootstrap by their digests, the
 * bootstrap by the validator, the devices by its table. Compressed devices are opened in the store
 * (`store` NULL: the default one); their chunk indexes are read and verified when the first byte is
 * wanted. A blob that another process is filling is fetched for this session alone
 * (store_blob_open_now()). Raw devices of a layout are read where they lie, unverified; those of a
 * registry, for which there are no digests of parts, are fetched and verified here, as a whole.
 * `image` outlives the session; its paths are made absolute.
 */
struct session *session_open(
	struct image_source *image, const char *store, uint64_t store_limit, struct error **err);

/* Begin to serve: from now on there are threads. */
int session_start(struct session *s, struct error **err);

/* Fetch all that is missing in the background, whenever nobody wants anything. */
void session_prefetch(struct session *s);

/* Fetch all that is missing, and wait for it; an interrupt (lib/base/interrupt.h) ends that. */
int session_fetch_all(struct session *s, struct error **err);

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
	return d->blob && !served_blob_is_complete(d->blob);
}

static inline void cleanup_session_(struct session **s)
{
	session_close(*s);
}
#define CLEANUP_SESSION CLEANUP(cleanup_session_)

#endif
