/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A directory without reading all of it: one name, or the names from a position on. For images
 * that bootstrap_validate() has accepted; what it would not accept is an error here or is not
 * found, nothing worse.
 */
#ifndef BOOTSTRAP_LOOKUP_H
#define BOOTSTRAP_LOOKUP_H

#include "lib/bootstrap/read.h"

/* 1 with *found, 0 when the directory has no such name, -1 with *err. O(log n). */
int bootstrap_lookup(const struct bootstrap *b, const struct bootstrap_inode *dir, const char *name,
	size_t len, struct bootstrap_name *found, struct error **err);

/*
 * Call `each` for the names from position `at` on, "." and ".." among them, in stored order, until
 * it returns other than 0. `next` is the position behind the name: a byte of the directory, which
 * stays what it is as long as the image does. The first one is 0.
 */
int bootstrap_names_from(const struct bootstrap *b, const struct bootstrap_inode *dir, uint64_t at,
	int (*each)(void *arg, const struct bootstrap_name *name, uint64_t next), void *arg,
	struct error **err);

#endif
