/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The data devices of a converted image, wherever its blobs lie. */
#ifndef IMAGE_DEVICE_H
#define IMAGE_DEVICE_H

#include "lib/blob/device.h"
#include "lib/image/source.h"

/*
 * Open the layer, one of src's, as a device. It has the descriptor's size; a raw one's digest is
 * not verified. `cache` is for compressed ones; it outlives the device.
 */
struct device *image_device_open(struct image_source *src, const struct image_layer *l,
	struct frame_cache *cache, struct error **err);

/* Its chunk index, verified, of a compressed layer. NULL on error. */
struct range_map *image_range_map_open(
	struct image_source *src, const struct image_layer *l, struct error **err);

/*
 * Bytes of the layer, uncompressed: of a compressed one, its chunk index says it, which is read
 * and verified for that.
 */
int image_device_size(
	struct image_source *src, const struct image_layer *l, uint64_t *size, struct error **err);

#endif
