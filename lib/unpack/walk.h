/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The tree in the order in which it is unpacked: a directory, all that lies in it sorted by
 * bytes, then each of its subdirectories likewise with everything below. So whoever extracts a
 * tar of this order never comes back to a directory that it has left (GNU tar sets a
 * directory's mode and time when it leaves it).
 */
#ifndef UNPACK_WALK_H
#define UNPACK_WALK_H

#include "lib/bootstrap/read.h"

/* Valid during the call. */
struct unpack_entry {
	const struct bootstrap_inode *inode;
	const char *path; /* "usr/bin/x"; "" is the root */
	const char *name; /* the last part of path */
};

/* Each returns 0 to go on; an error gets the path put in front. */
struct unpack_visitor {
	int (*enter)(void *arg, const struct unpack_entry *dir, struct error **err);
	/* What is no directory, in the directory entered last and not yet left. */
	int (*entry)(void *arg, const struct unpack_entry *e, struct error **err);
	int (*leave)(void *arg, const struct unpack_entry *dir, struct error **err);
	void *arg;
};

/*
 * The bootstrap must be one that bootstrap_walk() finds no fault in: it is a tree then, and no
 * larger than it looks. An interrupt ends the walk by an error.
 */
int unpack_walk(
	const struct bootstrap *b, const struct unpack_visitor *visitor, struct error **err);

#endif
