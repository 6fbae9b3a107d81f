/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The data devices of a converted image, wherever its blobs lie. */
#ifndef IMAGE_DEVICE_H
#define IMAGE_DEVICE_H

#include "lib/blob/device.h"
#include "lib/image/source.h"

/*
 * Open the layer, one of src's, as a device. It has the descriptor's size; its digest is not
 * verified.
 */
struct device *image_device_open(
	struct image_source *src, const struct image_layer *l, struct error **err);

#endif
