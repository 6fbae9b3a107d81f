/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The kinds of sources. */
#ifndef SERVE_SOURCES_H
#define SERVE_SOURCES_H

#include "lib/image/source.h"
#include "lib/registry/registry.h"
#include "lib/serve/engine/source.h"

/*
 * The same repository at one or more places (mirrors, then the registry itself), which are asked in
 * this order; one that failed is asked last for 30 seconds, and twice as long each time that it
 * fails again, up to 10 minutes. The array is copied; the registries stay the caller's and outlive
 * the source.
 */
struct blob_source *source_registry_new(struct registry *const *places, size_t n);

/* An image layout, in a directory or an archive (not a registry). `image` outlives the source. */
struct blob_source *source_file_new(struct image_source *image);

#endif
