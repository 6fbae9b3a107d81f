/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The blobs that this process serves: each once, however many images have it; fetched from the
 * sources of whichever image, by one engine into one store.
 */
#ifndef SERVE_SHARED_BLOB_H
#define SERVE_SHARED_BLOB_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "lib/image/source.h"
#include "lib/serve/engine/engine.h"
#include "lib/store/store.h"

struct blob_set;
struct device_transport;

/* The device transports that a process may have: one of each kind, all at once. */
enum device_kind { DEVICE_FANOTIFY, DEVICE_FUSE, DEVICE_CACHEFILES, DEVICE_KINDS };

/* A blob in use. Transports read these; only shared_blob.c changes them, but for `attached`. */
struct shared_blob {
	struct blob_set *set;
	struct digest digest; /* its name here, the same in each process: a digest of the blob's
				 digest as stored, of `index` and of `size` */
	struct digest index; /* a name of its chunk index, which says whose bytes are whose */
	uint64_t size; /* of the device, bytes */
	int fd; /* the cache file: where the device's bytes lie, or will */
	const char *path; /* its absolute path */
	struct served_blob *served; /* the engine's; NULL before the start */
	void *attached[DEVICE_KINDS]; /* what the transport of that kind has made of it; NULL:
					 nothing */
};

/* All is there, and on the disk: nobody has to be asked for it any more. */
bool shared_blob_is_complete(const struct shared_blob *b);

/*
 * `store` is taken over. With `named`, the cache files are those that have the blobs' names, also
 * while other processes fill them (store_blob_open_shared(), for the kernel opens them by name),
 * else store_blob_open_now() gives them.
 */
struct blob_set *blob_set_new(struct store *store, bool named);
/* How many seconds somebody waits for bytes at most; 0: as the engine does. Before the start. */
void blob_set_deadline(struct blob_set *s, unsigned seconds);
/* Before this there is no thread, and nothing is fetched or proved. */
int blob_set_start(struct blob_set *s, struct error **err);
/* One more transport, told when a blob that it has attached becomes complete; the caller's. */
void blob_set_add_transport(struct blob_set *s, struct device_transport *t);
/* Once this returns, it is told nothing any more. */
void blob_set_remove_transport(struct blob_set *s, const struct device_transport *t);
/* Answers those who wait with EIO: blobs can only be dropped. */
void blob_set_end(struct blob_set *s);
/* The same, and ends the threads; after all blobs have been dropped. NULL is allowed. */
void blob_set_free(struct blob_set *s);
struct engine *blob_set_engine(const struct blob_set *s); /* NULL before the start */
struct store *blob_set_store(const struct blob_set *s);

/*
 * Use the blob of a compressed device layer, `size` bytes uncompressed. `source` is one more place
 * where it may come from, until the user drops it, and outlives that. Images that say the same of
 * the blob share it; one that says something else, of its index or size, has another, so that
 * wrong words harm nobody but who believes them. On any thread.
 */
struct shared_blob *blob_set_use(struct blob_set *s, const struct image_layer *layer, uint64_t size,
	struct blob_source *source, struct error **err);
/* The last who does so closes it; the transport must have let go of it before. */
void blob_set_drop(struct shared_blob *b, struct blob_source *source);

/*
 * For one more mount that has it as a device, and one less: device_transport.h's attach() and
 * detach(), the latter for the last of them.
 */
int shared_blob_attach(
	struct shared_blob *b, struct device_transport *t, char **path, struct error **err);
void shared_blob_detach(struct shared_blob *b, struct device_transport *t);

/*
 * Has who brings this source access to the blob? Asked also when nothing of it is in the store yet:
 * whatever comes later, through whosever source, is read by all who have it. After the start.
 */
int shared_blob_prove(struct shared_blob *b, struct blob_source *source, struct error **err);

/*
 * A layer's uncompressed blob, which has no digests of parts, from a registry: as a whole in the
 * store, verified, complete. NULL on error; interruptible.
 */
struct store_blob *store_whole_blob(struct store *s, struct image_source *image,
	const struct image_layer *layer, struct error **err);

#endif
