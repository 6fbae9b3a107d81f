/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Where a file's blocks go: to a place that already holds the same, to a hole, or to the blob.
 * Decided chunk by chunk, so that a file's index has one entry for each chunk at most
 * (docs/dedupe.md has the measurements behind the rules).
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
	PLACE_CHUNK_MAX = 1024 * 1024, /* also the largest that is looked for whole */
	PLACE_CHUNK_DEFAULT = 32 * 1024,
};

struct placer;

/* Store a new block of len bytes (padded with zeros to 4096) in the current layer's blob. */
typedef int (*place_store_fn)(void *arg, const uint8_t *data, size_t len,
	const struct block_key *key, struct block_addr *addr, struct error **err);

/* `zero` is the key of a block of zeros. chunk_size is a power of two. */
struct placer *placer_new(const struct dedupe_index *index, const struct block_key *zero,
	size_t chunk_size, place_store_fn store, void *arg);
void placer_free(struct placer *p);

/* A regular file begins; its size and, for a sparse one, its data regions set the chunk size. */
int placer_begin(struct placer *p, const struct entry *e, struct error **err);

/* Its next block: len bytes, fewer than 4096 only at the end. NULL for a block of zeros. */
int placer_block(struct placer *p, const uint8_t *data, size_t len, const struct block_key *key,
	struct error **err);

/* Its next n blocks are holes. */
int placer_holes(struct placer *p, uint64_t n, struct error **err);

/* It ends: its runs, for the caller to free; NULL for an empty file or a single hole. */
int placer_end(struct placer *p, struct tree_extents **extents, struct error **err);

#endif
