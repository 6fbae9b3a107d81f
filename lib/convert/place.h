/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Where a file's blocks go: to a place that already holds the same, to a hole, or to the blob.
 * Runs of blocks are taken from elsewhere when they are long enough to pay for their index
 * entries and for the reader's seeks (docs/dedupe.md has the measurements behind the rules).
 */
#ifndef CONVERT_PLACE_H
#define CONVERT_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fmt/entry.h"
#include "lib/base/error.h"
#include "lib/dedupe/index.h"
#include "lib/tree/tree.h"

enum {
	PLACE_CHUNK_MIN = 4096,
	PLACE_CHUNK_MAX = 1024 * 1024,
};

/* All in bytes; chunk_size is a power of two, the others whole blocks. */
struct place_rules {
	size_t chunk_size; /* runs begin and end at multiples of it, so indexes are no finer */
	size_t min_match; /* the shortest run that is shared, unless it is the whole file */
	size_t min_hole; /* the shortest run of zeros that becomes a hole, likewise */
};

/* What the measurements recommend. */
#define PLACE_DEFAULTS                                                    \
	{                                                                 \
		.chunk_size = 4096, .min_match = 16384, .min_hole = 16384 \
	}

struct placer;

/* Store a new block of len bytes (padded with zeros to 4096) in the current layer's blob. */
typedef int (*place_store_fn)(void *arg, const uint8_t *data, size_t len,
	const struct block_key *key, struct block_addr *addr, struct error **err);

/* `zero` is the key of a block of zeros. */
struct placer *placer_new(const struct dedupe_index *index, const struct block_key *zero,
	const struct place_rules *rules, place_store_fn store, void *arg);
void placer_free(struct placer *p);

/*
 * A regular file begins. A large one gets larger chunks, so that its index stays small; a sparse
 * one the chunks for which index and stored padding cost least.
 */
int placer_begin(struct placer *p, const struct entry *e, struct error **err);

/* Its next block: len bytes, fewer than 4096 only at the end. NULL for a block of zeros. */
int placer_block(struct placer *p, const uint8_t *data, size_t len, const struct block_key *key,
	struct error **err);

/* Its next n blocks are holes. */
int placer_holes(struct placer *p, uint64_t n, struct error **err);

/* It ends: its runs, for the caller to free; NULL for an empty file or a single hole. */
int placer_end(struct placer *p, struct tree_extents **extents, struct error **err);

#endif
