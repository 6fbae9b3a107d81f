/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Every name in a bootstrap's tree, parents before children. No recursion; memory for the
 * directories (names stay in the image) and one bit for each place of an inode; time linear in
 * the image's size, whatever it holds: directories or chunk arrays that overlap are an error.
 */
#ifndef BOOTSTRAP_WALK_H
#define BOOTSTRAP_WALK_H

#include "lib/bootstrap/read.h"

struct walk;

struct bootstrap_entry {
	const struct bootstrap_inode *inode;
	const struct bootstrap_name *name; /* NULL for the root */
	bool again; /* a further name of an inode that came before: a hard link */
	const struct walk *walk;
};

/* "/usr/bin/x", printable, for as long as each() looks at the entry. The caller frees it. */
char *bootstrap_entry_path(const struct bootstrap_entry *entry);

struct bootstrap_walker {
	/* Returns 0 to go on; an error gets the path put in front. */
	int (*each)(void *arg, const struct bootstrap_entry *entry, struct error **err);
	/*
	 * A fault, with its path: 0 when it was taken (*err made NULL) and the walk shall go
	 * on, -1 to end it. NULL: the first fault ends the walk.
	 */
	int (*fault)(void *arg, struct error **err);
	void *arg;
};

int bootstrap_walk(
	const struct bootstrap *b, const struct bootstrap_walker *walker, struct error **err);

#endif
