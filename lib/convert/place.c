// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/convert/place.h"

#include <inttypes.h>
#include <string.h>

#include "fmt/erofs.h"
#include "lib/base/mem.h"

enum {
	BLOCK = DEDUPE_BLOCK,
	HELD_MAX = PLACE_CHUNK_MAX / BLOCK, /* blocks held back while a run is undecided */
	INDEXES_WANTED = 8192, /* a large file takes larger chunks to stay near this */
};
/* Bytes of index and padding for the sparse files of an image. */
#define SPARSE_COST_MAX (UINT64_C(4) << 30)
/* Chunks that hold data are padded: what one block brings with it stays small. */
enum { PADDED_BITS_MAX = 20, MAX_BITS = EROFS_BLOCK_BITS + EROFS_CHUNK_BITS_MAX };
_Static_assert(1 << PADDED_BITS_MAX >= PLACE_CHUNK_MAX, "any --chunk-size can be had");

enum run_state {
	RUN_STORED, /* blocks go to the blob; a new run may begin at the next chunk */
	RUN_ZEROS, /* n_held blocks of zeros, only counted */
	RUN_MATCH, /* the n_held blocks lie one after the other at each of starts[] */
};

struct held_block {
	struct block_key key;
	uint16_t len; /* 0: zeros */
	uint8_t data[BLOCK];
};

struct placer {
	const struct dedupe_index *index;
	struct block_key zero;
	struct place_rules rules;
	place_store_fn store;
	void *arg;
	uint64_t sparse_cost; /* of the sparse files so far */
	/* the file; sizes in blocks from here on */
	uint64_t chunk, min_match, min_hole;
	uint64_t at; /* blocks taken so far, those held included */
	struct tree_extent *extents;
	size_t n_extents, cap;
	uint32_t near; /* number of the first block of the file's last match, or 0 ... */
	uint64_t near_at; /* ... and where in the file that stands */
	/* the run; it begins at a multiple of chunk */
	enum run_state state;
	uint64_t n_held;
	bool taken; /* RUN_MATCH: an earlier part of this run is already in extents */
	uint32_t starts[DEDUPE_CANDIDATES + 1]; /* numbers that its first held block may have */
	unsigned n_starts;
	struct held_block *held;
};

struct placer *placer_new(const struct dedupe_index *index, const struct block_key *zero,
	const struct place_rules *rules, place_store_fn store, void *arg)
{
	struct placer *p = xzalloc(sizeof(*p));

	*p = (struct placer){
		.index = index,
		.zero = *zero,
		.rules = *rules,
		.store = store,
		.arg = arg,
		.held = xcalloc(HELD_MAX, sizeof(*p->held)),
	};
	return p;
}

void placer_free(struct placer *p)
{
	if (!p)
		return;
	free(p->extents);
	free(p->held);
	free(p);
}

static void add_extent(struct placer *p, uint64_t n_blk, struct block_addr addr)
{
	struct tree_extent *last = p->n_extents ? &p->extents[p->n_extents - 1] : NULL;

	if (last && last->device == addr.device &&
		(!addr.device || (uint64_t)last->blk + last->n_blk == addr.blk)) {
		last->n_blk += n_blk;
		return;
	}
	p->extents = xgrow(p->extents, p->n_extents, &p->cap, sizeof(*p->extents));
	p->extents[p->n_extents++] = (struct tree_extent){
		.n_blk = n_blk,
		.blk = addr.blk,
		.device = addr.device,
	};
}

static void add_hole(struct placer *p, uint64_t n_blk)
{
	add_extent(p, n_blk, (struct block_addr){ 0 });
}

static uint64_t chunks_of(uint64_t bytes, unsigned bits)
{
	return (bytes >> bits) + ((bytes & ((UINT64_C(1) << bits) - 1)) != 0);
}

/*
 * What a sparse file costs with chunks of 2^bits bytes: 8 bytes of index for each, and zeros
 * that are stored because they share a chunk with data. Saturates.
 */
static uint64_t sparse_cost(const struct entry *e, unsigned bits)
{
	uint64_t cost = 0, end = 0, chunks = chunks_of(e->size, bits);

	if (chunks > SPARSE_COST_MAX / EROFS_CHUNK_INDEX_SIZE)
		return UINT64_MAX;
	for (size_t i = 0; i < e->n_regions; i++) {
		const struct entry_region *r = &e->regions[i];
		uint64_t first = r->offset >> bits, past = chunks_of(r->offset + r->length, bits);

		first = first > end ? first : end;
		if (past > first)
			cost += (past - first) << bits;
		end = past > end ? past : end;
		if (cost > e->size + SPARSE_COST_MAX)
			return UINT64_MAX;
	}
	return cost + chunks * EROFS_CHUNK_INDEX_SIZE;
}

/* The cheapest of the chunk sizes from 2^first to 2^last bytes; its cost goes to *cost. */
static unsigned cheapest_chunk(const struct entry *e, unsigned first, unsigned last, uint64_t *cost)
{
	unsigned best = first;

	*cost = UINT64_MAX;
	for (unsigned bits = first; bits <= last; bits++) {
		uint64_t c = sparse_cost(e, bits);

		if (c < *cost) {
			*cost = c;
			best = bits;
		}
	}
	return best;
}

/*
 * What the chunks cost beyond the data itself is limited for the image as a whole: a few bytes
 * of sparse map can ask for any amount of it.
 */
static int choose_sparse_chunk(struct placer *p, const struct entry *e, struct error **err)
{
	unsigned least = (unsigned)__builtin_ctzll(p->rules.chunk_size), bits;
	uint64_t data = 0, cost;

	for (size_t i = 0; i < e->n_regions; i++)
		data += e->regions[i].length;
	bits = cheapest_chunk(e, least, e->n_regions ? PADDED_BITS_MAX : MAX_BITS, &cost);
	if (cost == UINT64_MAX) /* finer than was asked for, if that helps */
		bits = cheapest_chunk(e, EROFS_BLOCK_BITS, least, &cost);
	cost = cost > data ? cost - data : 0;
	if (cost > SPARSE_COST_MAX - p->sparse_cost)
		return error_set(err, 0,
			"sparse file of %" PRIu64 " bytes with %zu scattered pieces of data; "
			"EROFS would need over 4 GiB to describe the image's sparse files",
			e->size, e->n_regions);
	p->sparse_cost += cost;
	p->chunk = UINT64_C(1) << (bits - EROFS_BLOCK_BITS);
	p->min_hole = p->chunk;
	return 0;
}

static uint64_t at_least(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

int placer_begin(struct placer *p, const struct entry *e, struct error **err)
{
	p->at = 0;
	p->n_extents = 0;
	p->near = 0;
	p->state = RUN_STORED;
	p->n_held = 0;
	p->chunk = p->rules.chunk_size / BLOCK;
	p->min_hole = p->rules.min_hole / BLOCK;
	if (e->sparse && choose_sparse_chunk(p, e, err) < 0)
		return -1;
	while (!e->sparse && p->chunk < HELD_MAX && e->size / BLOCK / p->chunk > INDEXES_WANTED)
		p->chunk *= 2;
	p->min_match = at_least(p->rules.min_match / BLOCK, p->chunk);
	p->min_hole = at_least(p->min_hole, p->chunk);
	return 0;
}

static int store_block(struct placer *p, const uint8_t *data, size_t len,
	const struct block_key *key, struct error **err)
{
	static const uint8_t zero;
	struct block_addr addr;

	if (!len) {
		data = &zero;
		len = 1;
	}
	if (p->store(p->arg, data, len, key, &addr, err) < 0)
		return -1;
	add_extent(p, 1, addr);
	return 0;
}

/* Held blocks from number `first` of them on go to the blob after all. */
static int store_held(struct placer *p, uint64_t first, struct error **err)
{
	bool zeros = p->state == RUN_ZEROS; /* only counted: there may be very many */

	p->state = RUN_STORED;
	for (uint64_t i = first; i < p->n_held; i++) {
		const struct held_block *b = zeros ? NULL : &p->held[i];

		if (store_block(
			    p, b ? b->data : NULL, b ? b->len : 0, b ? &b->key : &p->zero, err) < 0)
			return -1;
	}
	p->n_held = 0;
	return 0;
}

static void hold(struct placer *p, const uint8_t *data, size_t len, const struct block_key *key)
{
	struct held_block *b = &p->held[p->n_held++];

	b->key = *key;
	b->len = (uint16_t)len;
	if (len)
		memcpy(b->data, data, len);
}

/* Keep the starts whose block `n` on from there has this key; false and unchanged if none. */
static bool filter_starts(struct placer *p, uint64_t n, const struct block_key *key)
{
	uint32_t kept[DEDUPE_CANDIDATES + 1];
	unsigned n_kept = 0;

	for (unsigned i = 0; i < p->n_starts; i++) {
		uint64_t number = p->starts[i] + n;

		if (number <= UINT32_MAX &&
			dedupe_matches(p->index, (uint32_t)number, p->starts[i], key))
			kept[n_kept++] = p->starts[i];
	}
	if (!n_kept)
		return false;
	memcpy(p->starts, kept, n_kept * sizeof(*kept));
	p->n_starts = n_kept;
	return true;
}

/* Where the run would lie if the file went on as its last match did: the best place of all. */
static uint32_t near_start(const struct placer *p, uint64_t run_at)
{
	uint64_t number = p->near + (run_at - p->near_at);

	return p->near && number <= UINT32_MAX ? (uint32_t)number : 0;
}

/* May `zeros` held blocks of zeros and then a block with this key lie somewhere? */
static bool find_starts(struct placer *p, uint64_t zeros, const struct block_key *key)
{
	uint32_t found[DEDUPE_CANDIDATES], near = near_start(p, p->at - zeros);
	unsigned n = dedupe_find(p->index, key, found);

	p->n_starts = 0;
	if (near)
		p->starts[p->n_starts++] = near;
	for (unsigned i = 0; i < n; i++)
		if (found[i] > zeros && found[i] - zeros != near)
			p->starts[p->n_starts++] = (uint32_t)(found[i] - zeros);
	for (uint64_t i = 0; i < zeros; i++)
		if (!filter_starts(p, i, &p->zero))
			return false;
	return filter_starts(p, zeros, key);
}

/* The first n held blocks are taken from where they lie. */
static void take_match(struct placer *p, uint64_t n)
{
	if (!n)
		return;
	add_extent(p, n, dedupe_addr(p->index, p->starts[0]));
	p->near = p->starts[0];
	p->near_at = p->at - p->n_held;
}

/*
 * The run of matching blocks ends before the next block. What is left of its last chunk is
 * stored, except at the end of the file.
 */
static int end_match(struct placer *p, bool at_end, struct error **err)
{
	uint64_t n = at_end ? p->n_held : p->n_held - p->n_held % p->chunk;
	bool whole_file = at_end && p->n_held == p->at;

	if (!p->taken && !whole_file && n < p->min_match)
		n = 0;
	take_match(p, n);
	return store_held(p, n, err);
}

/* So much is held back that the run is decided: it goes on from a new start. */
static void continue_match(struct placer *p)
{
	take_match(p, p->n_held);
	p->starts[0] += (uint32_t)p->n_held;
	p->n_starts = 1;
	p->n_held = 0;
	p->taken = true;
}

/* A run of zeros ends before the next block; what is no hole of it stays held. */
static void end_zeros(struct placer *p, bool at_end)
{
	uint64_t n = at_end ? p->n_held : p->n_held - p->n_held % p->chunk;
	bool whole_file = at_end && p->n_held == p->at;

	if (!whole_file && n < p->min_hole)
		n = 0;
	if (n)
		add_hole(p, n);
	p->n_held -= n;
}

/* Held zeros and the block of that key begin a match, or the zeros are stored. */
static int begin_match(struct placer *p, const struct block_key *key, struct error **err)
{
	uint64_t zeros = p->n_held;

	if (zeros >= HELD_MAX || p->chunk > HELD_MAX || !find_starts(p, zeros, key))
		return store_held(p, 0, err);
	p->n_held = 0;
	while (p->n_held < zeros)
		hold(p, NULL, 0, &p->zero);
	p->state = RUN_MATCH;
	p->taken = false;
	return 0;
}

/* The next block cannot go on with the run: end it, so that the block may begin another. */
static int end_run(struct placer *p, const struct block_key *key, struct error **err)
{
	if (p->state == RUN_MATCH)
		return end_match(p, false, err);
	end_zeros(p, false);
	return begin_match(p, key, err);
}

/* len 0: a block of zeros. */
static int add_block(struct placer *p, const uint8_t *data, size_t len, const struct block_key *key,
	struct error **err)
{
	if ((p->state == RUN_MATCH && !filter_starts(p, p->n_held, key)) ||
		(p->state == RUN_ZEROS && len))
		if (end_run(p, key, err) < 0)
			return -1;
	if (p->state == RUN_STORED && p->at % p->chunk == 0) {
		if (!len)
			p->state = RUN_ZEROS;
		else if (begin_match(p, key, err) < 0)
			return -1;
	}
	p->at++;
	if (p->state == RUN_STORED)
		return store_block(p, data, len, key, err);
	if (p->state == RUN_ZEROS)
		p->n_held++;
	else
		hold(p, data, len, key);
	if (p->state == RUN_MATCH && p->n_held == HELD_MAX)
		continue_match(p);
	return 0;
}

int placer_block(struct placer *p, const uint8_t *data, size_t len, const struct block_key *key,
	struct error **err)
{
	if (!data)
		return add_block(p, NULL, 0, &p->zero, err);
	return add_block(p, data, len, key, err);
}

int placer_holes(struct placer *p, uint64_t n, struct error **err)
{
	/* to where a run of zeros has begun; from there on they are only counted */
	for (; n && p->state != RUN_ZEROS; n--)
		if (add_block(p, NULL, 0, &p->zero, err) < 0)
			return -1;
	p->n_held += n;
	p->at += n;
	return 0;
}

static int end_file(struct placer *p, struct error **err)
{
	if (p->state == RUN_MATCH)
		return end_match(p, true, err);
	if (p->state == RUN_STORED)
		return 0;
	end_zeros(p, true);
	return store_held(p, 0, err);
}

int placer_end(struct placer *p, struct tree_extents **extents, struct error **err)
{
	size_t size;

	*extents = NULL;
	if (end_file(p, err) < 0)
		return -1;
	if (!p->n_extents || (p->n_extents == 1 && !p->extents[0].device))
		return 0;
	if (p->n_extents > UINT32_MAX)
		return error_set(err, 0, "the file is in more than 2^32 pieces");
	size = p->n_extents * sizeof(*p->extents);
	*extents = xmalloc(sizeof(**extents) + size);
	(*extents)->n = (uint32_t)p->n_extents;
	memcpy((*extents)->of, p->extents, size);
	return 0;
}
