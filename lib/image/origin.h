/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Where an image's documents and blobs are read from: an image layout or a registry. All that is
 * read whole is verified by size and digest.
 */
#ifndef IMAGE_ORIGIN_H
#define IMAGE_ORIGIN_H

#include <jansson.h>

#include "lib/image/layout.h"
#include "lib/image/remote.h"
#include "lib/stream/stream.h"

/* One of the two; both stay the owner's. */
struct origin {
	struct bundle layout;
	struct remote *remote; /* NULL: the layout */
};

/*
 * The index that a reference is looked up in: a layout's index.json; for a registry one that lists
 * what the tag or digest names, without a tag. NULL on error.
 */
json_t *origin_read_index(const struct origin *c, struct error **err);

/*
 * A manifest, index or config as it is stored, d->size bytes and a NUL behind; the caller frees
 * them. MANIFEST_MAX_BYTES at most. `what` is for errors ("manifest").
 */
char *origin_read_bytes(
	const struct origin *c, const struct descriptor *d, const char *what, struct error **err);
/* The same, parsed. */
json_t *origin_read_object(
	const struct origin *c, const struct descriptor *d, const char *what, struct error **err);

/* A blob's bytes; they must have this size, but their digest is the reader's to verify. */
struct stream *origin_open_stream(const struct origin *c, const struct digest *digest,
	uint64_t size, const char *name, struct error **err);

/* Is there a blob of that digest and size? 1, 0, or -1. */
int origin_has_blob(
	const struct origin *c, const struct digest *digest, uint64_t size, struct error **err);

#endif
