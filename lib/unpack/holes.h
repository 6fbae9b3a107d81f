/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Which parts of a file a sparse tar entry leaves out. The rule looks at the file's bytes, not
 * at the image's holes, so that equal trees are equal tars however they were converted: a file
 * with a run of zeros of HOLES_MATTER bytes or more is sparse, and then leaves out every run of
 * HOLES_LEAST bytes or more.
 */
#ifndef UNPACK_HOLES_H
#define UNPACK_HOLES_H

#include "fmt/entry.h"
#include "lib/unpack/content.h"

#define HOLES_MATTER (UINT64_C(1) << 20)
#define HOLES_LEAST  (UINT64_C(64) << 10)
/* As many as our own reader takes; with more, the least length doubles until they fit. */
#define HOLES_MAX_REGIONS 1000000u

struct holes {
	struct entry_region *regions; /* where data lies */
	size_t n;
	bool matter;
};

/*
 * Find them, by reading a file that has holes in the image; `regions` is empty and `matter`
 * false for others. `stopped` ends it early, by an error.
 */
int holes_find(struct holes *h, const struct content *c, const struct bootstrap_inode *file,
	bool (*stopped)(void *arg), void *arg, struct error **err);
void holes_free(struct holes *h); /* what it holds, not h itself */

#endif
