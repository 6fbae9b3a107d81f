/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The few files that have most of something. */
#ifndef VERIFY_TOP_FILES_H
#define VERIFY_TOP_FILES_H

#include "lib/bootstrap/walk.h"

struct top_file {
	uint64_t key; /* what the list is about */
	char *path; /* printable; one of its names */
	uint64_t size;
	uint64_t shared; /* bytes in blocks that it or another file refers to once more */
	uint64_t runs;
};

struct top_files {
	struct top_file *v; /* descending by key; of equals, the first that came is first */
	size_t n, max;
};

void top_files_init(struct top_files *top, size_t max);
void top_files_free(struct top_files *top); /* what it holds, not top itself */

/* Into the list, if its key is not 0 and large enough; the path is the entry's. */
void top_files_offer(struct top_files *top, const struct bootstrap_entry *entry,
	const struct top_file *file, uint64_t key);

#endif
