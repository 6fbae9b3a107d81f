/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * For EROFS over fscache, which reads wrong bytes where data follows a hole: when a hole begins in
 * a readahead, all the rest of that readahead becomes zeros (erofs_fscache_data_read(), seen on
 * Linux 6.1). Without holes there is nothing to be wrong: they become blocks of zeros, behind all
 * that has an address.
 */
#ifndef BOOTSTRAP_ZERO_HOLES_H
#define BOOTSTRAP_ZERO_HOLES_H

#include "lib/bootstrap/read.h"

/* Larger chunks are not made up: each that is read would take as much of the cache's disk. */
#define ZERO_HOLES_MAX (1u << 18) /* blocks: 1 GiB */

/* Blocks [block, block + n) of the primary device: zeros. n is 0 when no hole had to be one. */
struct zero_holes {
	uint64_t block, n;
};

/*
 * `image` is a copy of the image that `b` reads, bootstrap_size() bytes. Every hole that has data
 * behind it in its file becomes a chunk of the zeros, and the superblock's checksum is made anew.
 * What is refused is a hole whose chunk is too large, and an image without addresses left.
 */
int bootstrap_zero_holes(
	const struct bootstrap *b, uint8_t *image, struct zero_holes *zeros, struct error **err);

#endif
