/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Which blocks have been stored, and where they lie. XXH3 finds a candidate, a Poly1305 tag
 * under a random key of this run decides (docs/design.md, decision 4); key and tags never
 * leave the process, and the result does not depend on them.
 */
#ifndef DEDUPE_INDEX_H
#define DEDUPE_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"

enum { DEDUPE_BLOCK = 4096, DEDUPE_TAG = 16, DEDUPE_CANDIDATES = 8 };

/* What a block is recognised by. */
struct block_key {
	uint64_t hash;
	uint8_t tag[DEDUPE_TAG];
};

/* Makes keys. One for each thread that does so; all of one run share a secret. */
struct block_hasher;
struct dedupe_secret {
	uint8_t poly1305[32];
	uint64_t seed;
};

int dedupe_secret_new(struct dedupe_secret *secret, struct error **err);
struct block_hasher *block_hasher_new(const struct dedupe_secret *secret);
void block_hasher_free(struct block_hasher *h);
void block_hasher_key(
	struct block_hasher *h, const uint8_t block[static DEDUPE_BLOCK], struct block_key *key);

/* Where a stored block lies. */
struct block_addr {
	uint16_t device; /* 1 and up */
	uint32_t blk;
};

struct dedupe_index;
struct dedupe_index *dedupe_index_new(void);
void dedupe_index_free(struct dedupe_index *index);

/*
 * Stored blocks are numbered in the order of storing, through all devices: a number is what a
 * match is given as. Blocks of device d begin at block `first_blk` there.
 */
void dedupe_begin_device(struct dedupe_index *index, uint16_t device, uint32_t first_blk);

/* The block stored next has this key. Its number, or 0 with *err past 2^32 - 2 blocks. */
uint32_t dedupe_add(struct dedupe_index *index, const struct block_key *key, struct error **err);

/*
 * Up to DEDUPE_CANDIDATES stored blocks with this key, the newest first, and how many. Of a block
 * that is stored more often than that, only the first ones are known.
 */
unsigned dedupe_find(const struct dedupe_index *index, const struct block_key *key,
	uint32_t numbers[static DEDUPE_CANDIDATES]);

/* Is there a block of that number, in the device of `same_device_as`, and has it this key? */
bool dedupe_matches(const struct dedupe_index *index, uint32_t number, uint32_t same_device_as,
	const struct block_key *key);

struct block_addr dedupe_addr(const struct dedupe_index *index, uint32_t number);

#endif
