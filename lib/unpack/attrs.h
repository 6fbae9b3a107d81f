/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What an inode is besides its data: owner, xattrs, mode, time. */
#ifndef UNPACK_ATTRS_H
#define UNPACK_ATTRS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "lib/bootstrap/read.h"

/* How many of each the system did not let us set. */
struct attrs_left_out {
	_Atomic uint64_t owners, modes, times, xattrs;
};

struct attrs {
	const struct bootstrap *bootstrap;
	bool exact; /* what cannot be set is an error */
	struct attrs_left_out left;
};

/* Root of the system, and not only of a user namespace: nothing is left out. */
bool attrs_may_all(void);

/*
 * Set everything. The file is `fd`; or, of what is not to be opened (name not NULL), `name` in
 * the directory `fd`, where no symlink is followed. Of attrs->left only is changed, atomically.
 */
int attrs_set(struct attrs *a, int fd, const char *name, const struct bootstrap_inode *inode,
	struct error **err);

#endif
