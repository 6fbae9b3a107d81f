/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What a manifest and a config say, as members of an image source. No files are touched. */
#ifndef IMAGE_MANIFEST_H
#define IMAGE_MANIFEST_H

#include "lib/image/layout.h"
#include "lib/image/source.h"

/* The config's descriptor in src->manifest; lives as long as that. */
int manifest_config(struct descriptor *d, const struct image_source *src, struct error **err);

/* src->layers of src->manifest. */
int manifest_layers(struct image_source *src, struct error **err);

/* The diff_ids of src->config into src->layers: one for each. */
int manifest_diff_ids(struct image_source *src, struct error **err);

/*
 * src->platform_text; and is the image for `wanted` (or NULL)? An index's platform, if that led
 * here, knows better than the config: many configs for arm/v6 state no variant.
 */
int manifest_platform(struct image_source *src, const struct platform *wanted, bool by_platform,
	struct error **err);

/* The least that other tools take for a manifest, of an image that has none. */
void manifest_make_up(struct image_source *src);

#endif
