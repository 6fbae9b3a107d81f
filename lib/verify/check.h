/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Is an image whole, and is it the tree of its source? Each blob is read once, all of them in
 * parallel; the bootstrap's structure is checked before, since it says what the blobs must be.
 * Memory: what the tree of names needs, and a buffer for each thread.
 */
#ifndef VERIFY_CHECK_H
#define VERIFY_CHECK_H

#include "lib/base/progress.h"
#include "lib/verify/faults.h"
#include "lib/verify/summary.h"

struct check_options {
	struct image_source *against; /* open; or NULL */
	unsigned jobs; /* threads; 1 and up */
	enum progress_mode progress;
};

struct check_result {
	struct faults faults; /* in the order of the parts: documents, tree, blobs */
	struct faults differences; /* from the source */
	bool compared; /* with the source */
	size_t blobs; /* that were read: manifest, config, layers */
	uint64_t bytes; /* of the layers */
	struct tree_sums tree;
};

/*
 * `src` is open: its manifest and config are verified. -1 when the image or its source cannot
 * be checked, or the user interrupts; what was found until then is in *r.
 */
int check_image(struct check_result *r, struct image_source *src,
	const struct check_options *options, struct error **err);
void check_result_free(struct check_result *r); /* what it holds, not r itself */

#define CLEANUP_CHECK_RESULT CLEANUP(check_result_free)

#endif
