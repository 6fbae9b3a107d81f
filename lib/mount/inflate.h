/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A compressed blob into the store, as a whole. */
#ifndef MOUNT_INFLATE_H
#define MOUNT_INFLATE_H

#include "lib/base/progress.h"
#include "lib/image/source.h"
#include "lib/store/store.h"

struct inflate_options {
	unsigned jobs; /* threads */
	enum progress_mode progress;
};

/*
 * Open the layer's blob in the store, and bring what it lacks there: each frame verified, then
 * decompressed. What is there already is not read again. Interruptible; what has been stored by
 * then stays, and the next time goes on from there. NULL on error.
 */
struct store_blob *inflate_blob(struct store *store, struct image_source *src,
	const struct image_layer *l, const struct inflate_options *o, struct error **err);

#endif
