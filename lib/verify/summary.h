/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What a converted image holds, in numbers. */
#ifndef VERIFY_SUMMARY_H
#define VERIFY_SUMMARY_H

#include "lib/bootstrap/walk.h"
#include "lib/image/erofs.h"
#include "lib/image/source.h"
#include "lib/verify/sharing.h"
#include "lib/verify/top_files.h"

/* Of the tree. Inodes count once, however many names they have. */
struct tree_sums {
	uint64_t inodes, compact_inodes;
	uint64_t files, directories, symlinks, others;
	uint64_t hard_links; /* names beyond an inode's first */
	uint64_t logical_bytes; /* sizes of regular files */
	uint64_t mapped_bytes; /* whole blocks of the devices that files refer to */
	uint64_t chunk_indexes;
	uint64_t runs; /* chunks that continue each other, and are no hole, as one */
};

/* Add one name of the walk; a file's chunks are verified on the way. */
int tree_sums_add(struct tree_sums *s, const struct bootstrap *b,
	const struct bootstrap_entry *entry, struct error **err);

/* How many files have how many runs: the last class is open. */
#define SUMMARY_RUN_CLASSES 7
extern const uint64_t summary_run_classes[SUMMARY_RUN_CLASSES]; /* the fewest of each */

struct summary {
	struct erofs_found found;
	struct erofs_device_slot *slots; /* of the devices */
	struct tree_sums tree;
	struct sharing *sharing;
	struct sharing_device data; /* of all devices together */
	uint64_t holes, hole_bytes;
	uint64_t files_by_runs[SUMMARY_RUN_CLASSES];
	struct top_files largest, most_shared;
	uint64_t bootstrap_bytes;
	uint64_t stored_bytes; /* of all layers, as their descriptors say */
	uint64_t unique_bytes; /* data blocks in the devices: all but the constant first one */
};

/*
 * `src` must outlive the summary; the lists of files have up to `n_files`. Of the blobs only
 * the bootstrap is read.
 */
int summary_make(struct summary *s, struct image_source *src, size_t n_files, struct error **err);
void summary_free(struct summary *s); /* what it holds, not s itself */

#define CLEANUP_SUMMARY CLEANUP(summary_free)

#endif
