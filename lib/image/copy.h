/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Images as they are, from where they lie to a destination: the same bytes, the same digests. */
#ifndef IMAGE_COPY_H
#define IMAGE_COPY_H

#include "lib/image/dest.h"
#include "lib/image/origin.h"

/*
 * All that a manifest or index needs, in the order that registries want: blobs; of an index, what
 * it lists. Foreign layers that are not there are left out, as other tools do. The document itself
 * is not added: its bytes (d->size, and a NUL) are the caller's to commit and free. NULL on error.
 */
char *copy_parts(struct image_dest *dest, const struct origin *from, const struct descriptor *d,
	struct error **err);

/* The document itself, too. */
int copy_whole(struct image_dest *dest, const struct origin *from, const struct descriptor *d,
	struct error **err);

#endif
