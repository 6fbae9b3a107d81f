/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A repository of a registry as the place of an image that is read. The functions may be called
 * on any thread.
 */
#ifndef IMAGE_REMOTE_H
#define IMAGE_REMOTE_H

#include <jansson.h>

#include "lib/base/digest.h"
#include "lib/image/bundle.h"
#include "lib/image/ref.h"
#include "lib/stream/stream.h"

struct descriptor;
struct registry;
struct remote;

/* Of a docker:// reference; the registry is not asked yet. */
struct remote *remote_open(const struct image_ref *ref, struct error **err);
struct remote *remote_ref(struct remote *r);
void remote_unref(struct remote *r); /* NULL is allowed */

/* It stays r's. */
struct registry *remote_registry(const struct remote *r);

/*
 * An index that lists one descriptor: of what the reference's tag or digest names. The registry is
 * asked once, so that a tag that moves meanwhile changes nothing.
 */
json_t *remote_read_index(struct remote *r, struct error **err);

/* As origin_read_bytes(). */
char *remote_read_bytes(struct remote *r, const struct descriptor *d, struct error **err);

/* A blob as it comes over the network; for the reader to verify. */
struct stream *remote_open_stream(
	struct remote *r, const struct digest *digest, uint64_t size, struct error **err);

/* 1 and its size, 0, or -1. */
int remote_has_blob(
	struct remote *r, const struct digest *digest, uint64_t *size, struct error **err);

/*
 * A blob at random access: fetched once, verified by digest and size, into a temporary file
 * without a name that lives as long as `r`.
 */
int remote_open_blob(struct remote *r, const struct digest *digest, uint64_t size,
	struct file_range *range, struct error **err);

/*
 * Somebody will soon open that blob: fetch it in the background, as soon as a connection is to be
 * had for nothing (registry_warm()), or when he does. If that fails, who opens it first hears why,
 * and nothing is asked again. By the thread that opens the image, one blob at most.
 */
void remote_expect_blob(struct remote *r, const struct digest *digest, uint64_t size);

static inline void cleanup_remote_(struct remote **r)
{
	remote_unref(*r);
}

#define CLEANUP_REMOTE CLEANUP(cleanup_remote_)

#endif
