/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The kinds of sources. */
#ifndef SERVE_SOURCES_H
#define SERVE_SOURCES_H

#include "lib/image/source.h"
#include "lib/registry/registry.h"
#include "lib/serve/engine/source.h"

/*
 * For how many milliseconds a server may be silent (struct registry_options) where readers wait for
 * so many seconds: they have to have time left to ask elsewhere, or again.
 */
unsigned source_patience(unsigned deadline);

/*
 * The same blobs at one or more places (mirrors, then the registry itself), which are asked in this
 * order; one that failed or gave wrong bytes is asked last for 30 seconds, and twice as long each
 * time that it fails again, up to 10 minutes. The array is copied, the sources are taken over.
 */
struct blob_source *source_chain_new(struct blob_source *const *sources, size_t n);

/* A repository. The registry stays the caller's and outlives the source. */
struct blob_source *source_registry_new(struct registry *r);

/*
 * Any HTTP server that has blobs as an image layout does, at BASE_URL/blobs/sha256/HEX; also one
 * that knows no ranges. Of the options, those for TLS and the number of tries count. It is asked
 * without credentials.
 */
struct blob_source *source_http_new(
	const char *base_url, const struct registry_options *options, struct error **err);

/* An image layout, in a directory or an archive (not a registry). `image` outlives the source. */
struct blob_source *source_file_new(struct image_source *image);

#endif
