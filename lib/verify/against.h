/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The tree of a converted image, entry by entry, against the one that its source's layers make. */
#ifndef VERIFY_AGAINST_H
#define VERIFY_AGAINST_H

#include <stdatomic.h>

#include "lib/base/workers.h"
#include "lib/blob/device.h"
#include "lib/bootstrap/read.h"
#include "lib/verify/faults.h"
#include "lib/verify/source_tree.h"

struct against {
	const struct bootstrap *b;
	struct device *const *devices; /* device i + 1; NULL where one cannot be read */
	size_t n_devices;
	struct source_tree *source; /* its directories are put in order, its marks are used */
	struct workers *workers; /* idle; they read the files */
	_Atomic uint64_t *done; /* counts bytes of data read, for the progress */
};

/*
 * One sentence for each difference: names, types, modes, owners, mtimes, sizes, contents, link
 * targets, device numbers, xattrs, and which names are one file. Nothing is said of what cannot
 * be read in the bootstrap: structure_check() has. -1 when the user interrupts.
 */
int against_compare(const struct against *a, struct faults *differences, struct error **err);

#endif
