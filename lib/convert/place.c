// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/convert/place.h"

#include <inttypes.h>
#include <string.h>

#include "fmt/erofs.h"
#include "lib/base/mem.h"

enum {
	BLOCK = DEDUPE_BLOCK,
	MATCH_BLOCKS = PLACE_CHUNK_MAX / BLOCK,
	INDEXES_WANTED = 8192, /* a large file takes larger chunks to stay near this */
};
#define SPARSE_COST_MAX (UINT64_C(4) << 30) /* bytes of index and padding for one sparse file */

/* What is known of the chunk so far. */
enum chunk_state {
	CHUNK_ZEROS,  /* nothing but zeros; an empty chunk too */
	CHUNK_MATCH,  /* stored somewhere, as far as seen */
	CHUNK_STORED, /* its blocks go to the blob */
};

struct pending_block {
	struct block_key key;
	uint16_t len; /* 0: zeros */
	uint8_t data[BLOCK];
};

struct placer {
	const struct dedupe_index *index;
	struct block_key zero;
	uint64_t min_chunk_blk;
	place_store_fn store;
	void *arg;
	/* the file */
	uint64_t chunk_blk;
	struct tree_extent *extents;
	size_t n_extents, cap;
	uint32_t follows; /* number of the stored block after the last match, or 0 */
	/* the chunk */
	enum chunk_state state;
	uint64_t n_blk;
	uint32_t starts[DEDUPE_CANDIDATES + 1]; /* numbers that its first block may have */
	unsigned n_starts;
	struct pending_block *pending; /* of CHUNK_MATCH: its n_blk blocks */
};

struct placer *placer_new(const struct dedupe_index *index, const struct block_key *zero,
	size_t chunk_size, place_store_fn store, void *arg)
{
	struct placer *p = xzalloc(sizeof(*p));

	*p = (struct placer){
		.index = index,
		.zero = *zero,
		.min_chunk_blk = chunk_size / BLOCK,
		.store = store,
		.arg = arg,
		.pending = xcalloc(MATCH_BLOCKS, sizeof(*p->pending)),
	};
	return p;
}

void placer_free(struct placer *p)
{
	if (!p)
		return;
	free(p->extents);
	free(p->pending);
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

static int choose_sparse_chunk(struct placer *p, const struct entry *e, struct error **err)
{
	unsigned least = (unsigned)__builtin_ctzll(p->min_chunk_blk * BLOCK), best = least;
	uint64_t data = 0, lowest = UINT64_MAX;

	for (size_t i = 0; i < e->n_regions; i++)
		data += e->regions[i].length;
	for (unsigned bits = least; bits <= EROFS_BLOCK_BITS + EROFS_CHUNK_BITS_MAX; bits++) {
		uint64_t cost = sparse_cost(e, bits);

		if (cost < lowest) {
			lowest = cost;
			best = bits;
		}
	}
	if (lowest == UINT64_MAX || (lowest > data && lowest - data > SPARSE_COST_MAX))
		return error_set(err, 0,
			"sparse file of %" PRIu64 " bytes with %zu scattered pieces of data; "
			"EROFS would need over 4 GiB to describe it",
			e->size, e->n_regions);
	p->chunk_blk = UINT64_C(1) << (best - EROFS_BLOCK_BITS);
	return 0;
}

int placer_begin(struct placer *p, const struct entry *e, struct error **err)
{
	p->n_extents = 0;
	p->follows = 0;
	p->state = CHUNK_ZEROS;
	p->n_blk = 0;
	p->chunk_blk = p->min_chunk_blk;
	if (e->sparse)
		return choose_sparse_chunk(p, e, err);
	while (p->chunk_blk < MATCH_BLOCKS && e->size / BLOCK / p->chunk_blk > INDEXES_WANTED)
		p->chunk_blk *= 2;
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

/* The chunk is not stored anywhere as a whole: what was held back of it goes to the blob. */
static int store_chunk_so_far(struct placer *p, struct error **err)
{
	bool zeros = p->state == CHUNK_ZEROS; /* only counted: there may be very many */

	p->state = CHUNK_STORED;
	for (uint64_t i = 0; i < p->n_blk; i++) {
		const struct pending_block *b = zeros ? NULL : &p->pending[i];

		if (store_block(p, b ? b->data : NULL, b ? b->len : 0, b ? &b->key : &p->zero,
			    err) < 0)
			return -1;
	}
	return 0;
}

/* Keep the starts where block n_blk of the chunk has this key. */
static void filter_starts(struct placer *p, uint64_t n_blk, const struct block_key *key)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < p->n_starts; i++) {
		uint64_t number = p->starts[i] + n_blk;

		if (number <= UINT32_MAX &&
			dedupe_matches(p->index, (uint32_t)number, p->starts[i], key))
			p->starts[kept++] = p->starts[i];
	}
	p->n_starts = kept;
}

/*
 * The first block of the chunk that is no zeros, after p->n_blk of zeros: where may the chunk
 * lie? First of all right behind the file's last match.
 */
static void find_starts(struct placer *p, const struct block_key *key)
{
	uint32_t found[DEDUPE_CANDIDATES];
	unsigned n = dedupe_find(p->index, key, found);

	p->n_starts = 0;
	if (p->follows)
		p->starts[p->n_starts++] = p->follows;
	for (unsigned i = 0; i < n; i++)
		if (found[i] > p->n_blk && found[i] - p->n_blk != p->follows)
			p->starts[p->n_starts++] = (uint32_t)(found[i] - p->n_blk);
	for (uint64_t i = 0; i < p->n_blk; i++)
		filter_starts(p, i, &p->zero);
	filter_starts(p, p->n_blk, key);
}

static void hold_back(struct placer *p, const uint8_t *data, size_t len,
	const struct block_key *key)
{
	struct pending_block *b = &p->pending[p->n_blk];

	b->key = *key;
	b->len = (uint16_t)len;
	if (len)
		memcpy(b->data, data, len);
}

/* The zeros that were only counted become blocks that are held back. */
static void begin_match(struct placer *p)
{
	uint64_t n = p->n_blk;

	for (p->n_blk = 0; p->n_blk < n; p->n_blk++)
		hold_back(p, NULL, 0, &p->zero);
	p->state = CHUNK_MATCH;
}

static void end_chunk(struct placer *p)
{
	if (p->state == CHUNK_ZEROS && p->n_blk)
		add_hole(p, p->n_blk);
	if (p->state == CHUNK_MATCH) {
		add_extent(p, p->n_blk, dedupe_addr(p->index, p->starts[0]));
		p->follows = p->starts[0] + (uint32_t)p->n_blk;
	} else {
		p->follows = 0;
	}
	p->state = CHUNK_ZEROS;
	p->n_blk = 0;
}

/* A block that is no zeros in a chunk that has been zeros so far. */
static int leave_zeros(struct placer *p, const struct block_key *key, struct error **err)
{
	p->n_starts = 0;
	if (p->chunk_blk <= MATCH_BLOCKS)
		find_starts(p, key);
	if (!p->n_starts)
		return store_chunk_so_far(p, err);
	begin_match(p);
	return 0;
}

static int add_block(struct placer *p, const uint8_t *data, size_t len,
	const struct block_key *key, struct error **err)
{
	if (p->state == CHUNK_ZEROS && len) {
		if (leave_zeros(p, key, err) < 0)
			return -1;
	} else if (p->state == CHUNK_MATCH) {
		filter_starts(p, p->n_blk, key);
		if (!p->n_starts && store_chunk_so_far(p, err) < 0)
			return -1;
	}
	if (p->state == CHUNK_MATCH)
		hold_back(p, data, len, key);
	else if (p->state == CHUNK_STORED && store_block(p, data, len, key, err) < 0)
		return -1;
	if (++p->n_blk == p->chunk_blk)
		end_chunk(p);
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
	uint64_t whole;

	while (n && p->n_blk && p->state != CHUNK_ZEROS) {
		if (add_block(p, NULL, 0, &p->zero, err) < 0)
			return -1;
		n--;
	}
	whole = (p->n_blk + n) / p->chunk_blk * p->chunk_blk;
	if (whole) {
		n -= whole - p->n_blk;
		add_hole(p, whole);
		p->n_blk = 0;
		p->follows = 0;
	}
	p->n_blk += n;
	return 0;
}

int placer_end(struct placer *p, struct tree_extents **extents, struct error **err)
{
	size_t size;

	end_chunk(p);
	*extents = NULL;
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
