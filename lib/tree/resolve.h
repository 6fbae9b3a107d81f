/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Paths of entries, resolved inside the tree: never out of the root, whatever they say.
 */
#ifndef TREE_RESOLVE_H
#define TREE_RESOLVE_H

#include "lib/tree/tree.h"

struct path_part {
	const char *name;
	size_t len;
};

/* Parts of a path; grows as needed and is reused from call to call. */
struct path_parts {
	struct path_part *of;
	size_t n, cap;
};

void path_parts_free(struct path_parts *p);

/*
 * Split and clean by the words alone, as Go's filepath.Clean("/" + path) does: no empty part,
 * no ".", each ".." takes away the part before it, or nothing at the root.
 */
void path_split(struct path_parts *out, const char *path);

/* Where a walk came to: an existing directory, and the parts below it that are no directory. */
struct resolved {
	uint32_t dir;
	struct path_parts missing;
	uint64_t steps; /* through symlinks' targets, by all walks with this struct */
};

/*
 * Walk the first n parts from the root. Symlinks on the way are followed inside the root, as
 * filepath-securejoin does for umoci and containerd's RootPath: absolute targets start at the
 * root again, ".." stops there, what is not there (or is no directory) goes on by name.
 * An error after 255 symlinks, and once out->steps, which the caller sets back, has become absurd.
 */
int resolve_dir(const struct tree *t, const struct path_parts *parts, size_t n,
	struct resolved *out, struct error **err);

#endif
