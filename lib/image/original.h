/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The image of tar layers that a converted one is made from, kept beside it in one index. */
#ifndef IMAGE_ORIGINAL_H
#define IMAGE_ORIGINAL_H

#include "lib/image/dest.h"
#include "lib/image/source.h"

/* Is there a manifest with a digest that can be kept or referred to? Else an error. `option` is
 * what asked for it. */
int original_check(const struct image_source *src, const char *option, struct error **err);

/* Copy it, with its digest, and append its descriptor to `manifests`, with its platform. */
int original_add(
	struct image_source *src, struct image_dest *dest, json_t *manifests, struct error **err);

/* The same for the attestations that its index lists. */
int original_add_attestations(
	struct image_source *src, struct image_dest *dest, json_t *manifests, struct error **err);

#endif
