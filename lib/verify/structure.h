/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The bootstrap's own structure, and what the data blobs must be for it. */
#ifndef VERIFY_STRUCTURE_H
#define VERIFY_STRUCTURE_H

#include "lib/bootstrap/read.h"
#include "lib/verify/faults.h"
#include "lib/verify/summary.h"

/*
 * A file's last block, of which only `used` bytes are the file's: the kernel shows the others
 * to whoever maps the file, so they must be zero.
 */
struct tail {
	uint32_t blk;
	uint16_t device; /* 1 and up */
	uint16_t used;
};

struct structure {
	struct tree_sums sums;
	struct tail *tails; /* by device, then by block */
	size_t n_tails, cap_tails;
};

/*
 * Every inode, name, xattr and chunk index; ends early when the user interrupts. What `told`
 * (the validator's sentence, or NULL) says of a path is not said again.
 */
void structure_check(
	struct structure *s, const struct bootstrap *b, const char *told, struct faults *faults);
void structure_free(struct structure *s); /* what it holds, not s itself */

/* The tails of one device: how many, from *first on. */
size_t structure_tails(const struct structure *s, unsigned device, const struct tail **first);

#endif
