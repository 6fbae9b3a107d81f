/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Is an image whole? Digests and sizes of every blob, the bootstrap's own structure, and the
 * two against each other.
 */
#ifndef VERIFY_CHECK_H
#define VERIFY_CHECK_H

#include "lib/verify/summary.h"

struct check_result {
	char **faults; /* sentences; in the order of layers, then of the tree */
	size_t n_faults, cap_faults;
	size_t blobs; /* that were read: manifest, config, layers */
	uint64_t bytes; /* of the layers */
	struct tree_sums tree;
};

/* `src` is open: its manifest and config are verified. -1 when the image cannot be checked. */
int check_image(struct check_result *r, struct image_source *src, struct error **err);
void check_result_free(struct check_result *r); /* what it holds, not r itself */

#define CLEANUP_CHECK_RESULT CLEANUP(check_result_free)

#endif
