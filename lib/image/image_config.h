/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The config of a converted image, from its source's. */
#ifndef IMAGE_IMAGE_CONFIG_H
#define IMAGE_IMAGE_CONFIG_H

#include "lib/image/erofs.h"

/*
 * A new object: the source's config with diff_ids, os.features and history of `image`; all
 * else, and the order of members, is the source's.
 */
json_t *config_convert(
	const struct erofs_image *image, const struct image_source *src, struct error **err);

/* The platform object for an index's descriptor: what the config says of it. */
json_t *config_platform(const json_t *config);

/* Does os.features name erofs? */
bool config_has_erofs(const json_t *config);

#endif
