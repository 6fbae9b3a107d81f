// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/le.h"
#include "lib/bootstrap/validator.h"

/* A chunked file while its indexes are read. */
struct chunks {
	unsigned bits;
	uint64_t n_blk; /* of the file */
	uint64_t at; /* bytes into the image */
};

static unsigned bits_of(const struct erofs_inode *inode)
{
	return inode->u & EROFS_CHUNK_BITS_MAX;
}

uint64_t validator_chunks(const struct erofs_inode *inode)
{
	return ((inode->size - 1) >> (EROFS_BLOCK_BITS + bits_of(inode))) + 1;
}

/* Chunk i, of which only the blocks that the file reaches into are read. */
static int check_index(
	struct validator *v, const struct chunks *c, uint64_t i, struct erofs_chunk_index index)
{
	uint64_t offset = c->at + i * EROFS_CHUNK_INDEX_SIZE;
	uint64_t left = c->n_blk - (i << c->bits), n = UINT64_C(1) << c->bits;

	if (get_le16(v->image + offset))
		return validator_refuse(
			v, offset, "chunk %" PRIu64 ": reserved bytes are not zero", i);
	if (!index.device && index.blk == EROFS_HOLE)
		return 0;
	/* the kernel masks the number: one too large can silently mean another device */
	if (!index.device || index.device > v->super.devices)
		return validator_refuse(v, offset + 2,
			"chunk %" PRIu64 ": no device %u: the image has %u", i, index.device,
			v->super.devices);
	if (index.blk + (n < left ? n : left) > validator_device_blocks(v, index.device))
		return validator_refuse(v, offset + 4,
			"chunk %" PRIu64 ": block %" PRIu32 " reaches beyond the end of device %u",
			i, index.blk, index.device);
	return 0;
}

/* Could one chunk of twice the size stand for both? */
static bool continues(
	struct erofs_chunk_index a, struct erofs_chunk_index b, const struct chunks *c)
{
	if (a.device != b.device)
		return false;
	return !a.device || a.blk + (UINT64_C(1) << c->bits) == b.blk;
}

/* Not larger than it takes to hold the file, and not smaller than its runs make it. */
static bool chunk_size_fits(const struct chunks *c, bool all_pairs_join)
{
	if (c->bits && UINT64_C(1) << (c->bits - 1) >= c->n_blk)
		return false;
	if (c->bits == EROFS_CHUNK_BITS_MAX || UINT64_C(1) << c->bits >= c->n_blk)
		return true;
	return !all_pairs_join;
}

int validate_chunks(struct validator *v, const struct erofs_inode *inode, uint64_t offset)
{
	const struct chunks c = {
		.bits = bits_of(inode),
		.n_blk = ((inode->size - 1) >> EROFS_BLOCK_BITS) + 1,
		.at = offset,
	};
	uint64_t n = validator_chunks(inode);
	struct erofs_chunk_index last = { 0 }, index;
	bool all_pairs_join = true;

	for (uint64_t i = 0; i < n; i++, last = index) {
		index = erofs_chunk_index_decode(v->image + offset + i * EROFS_CHUNK_INDEX_SIZE);
		if (check_index(v, &c, i, index) < 0)
			return -1;
		if (i % 2 && all_pairs_join)
			all_pairs_join = continues(last, index, &c);
	}
	if (!chunk_size_fits(&c, all_pairs_join))
		return validator_refuse(v, offset,
			"chunks of 2^%u blocks are not the largest that describe the file", c.bits);
	return 0;
}
