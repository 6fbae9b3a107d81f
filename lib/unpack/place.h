/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The directory that a tree is unpacked into: made under a hidden name beside the final one, or,
 * where an empty directory exists, that one. Until place_finish() only its owner can look inside.
 */
#ifndef UNPACK_PLACE_H
#define UNPACK_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/image/hidden_dir.h"

struct place {
	char *path; /* the final name */
	int fd; /* the directory */
	struct hidden_dir hidden;
	bool finished;
	/* Of a directory that exists: */
	bool ours; /* it was empty: what is in it can go */
	mode_t mode;
	char *default_acl;
	size_t default_acl_len;
};

#define PLACE_NONE ((struct place){ .fd = -1, .hidden = { .fd = -1 } })

int place_open(struct place *p, const char *path, struct error **err);

/* Give it its name. */
int place_finish(struct place *p, struct error **err);

/* Unless it was finished, remove what was made in it, and itself if it was made. */
void place_free(struct place *p);

#define CLEANUP_PLACE CLEANUP(place_free)

#endif
