/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A converted image to another place, unchanged. */
#ifndef IMAGE_PUSH_H
#define IMAGE_PUSH_H

#include "lib/image/dest.h"
#include "lib/image/source.h"

/*
 * Copy what `ref` names to `dest` and commit it there. Of an index the image for `wanted` (as in
 * image_source_open_converted()), or, with `all`, the index with everything that it lists. An image
 * of tar layers alone is an error.
 */
int image_push(const struct image_ref *ref, const struct platform *wanted, bool all,
	struct image_dest *dest, struct digest *digest, struct error **err);

#endif
