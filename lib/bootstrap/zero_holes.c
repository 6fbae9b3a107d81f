// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/bootstrap/zero_holes.h"

#include <inttypes.h>

#include "lib/bootstrap/walk.h"

struct zeroing {
	uint8_t *image;
	struct zero_holes *zeros;
};

/* An address below that of a device would be that device's. */
static int find_place(const struct bootstrap *b, uint64_t *block, struct error **err)
{
	const struct erofs_super *super = bootstrap_super(b);

	*block = super->blocks;
	for (unsigned i = 0; i < super->devices; i++) {
		struct erofs_device_slot slot;
		uint64_t end;

		if (bootstrap_device(b, i, &slot, err) < 0)
			return -1;
		end = (uint64_t)slot.unified_blk + slot.blocks;
		if (end > *block)
			*block = end;
	}
	return 0;
}

static bool is_hole(const uint8_t *index)
{
	return !erofs_chunk_index_decode(index).device;
}

/* How many chunks there are up to the last one with data. */
static uint64_t count_to_data(const uint8_t *indexes, uint64_t n)
{
	while (n && is_hole(indexes + (n - 1) * EROFS_CHUNK_INDEX_SIZE))
		n--;
	return n;
}

/* Of a chunk that is larger than its file, only the file's blocks are ever read: there is one chunk
 * then, which is no hole before data. */
static int use_zeros(struct zero_holes *zeros, unsigned bits, struct error **err)
{
	uint64_t n = UINT64_C(1) << bits;

	if (n > ZERO_HOLES_MAX)
		return error_set(err, 0,
			"a hole in chunks of %" PRIu64 " MiB, with data behind it: at most %u MiB "
			"can be had by cachefiles",
			n / 256, ZERO_HOLES_MAX / 256);
	if (zeros->block + n > EROFS_HOLE)
		return error_set(err, 0, "there are no block addresses left for holes");
	if (n > zeros->n)
		zeros->n = n;
	return 0;
}

static int visit(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	const struct zeroing *z = arg;
	const struct bootstrap_inode *inode = entry->inode;
	uint8_t *index = z->image + inode->data_offset;
	uint64_t n = entry->again ? 0 : bootstrap_chunks(inode);
	const struct erofs_chunk_index zero = { .blk = (uint32_t)z->zeros->block };

	for (n = n ? count_to_data(index, n) : 0; n; n--, index += EROFS_CHUNK_INDEX_SIZE) {
		if (!is_hole(index))
			continue;
		if (use_zeros(z->zeros, inode->inode.u & EROFS_CHUNK_BITS_MAX, err) < 0)
			return -1;
		erofs_chunk_index_encode(index, zero);
	}
	return 0;
}

int bootstrap_zero_holes(
	const struct bootstrap *b, uint8_t *image, struct zero_holes *zeros, struct error **err)
{
	struct zeroing z = { .image = image, .zeros = zeros };
	const struct bootstrap_walker walker = { .each = visit, .arg = &z };

	*zeros = (struct zero_holes){ 0 };
	if (find_place(b, &zeros->block, err) < 0)
		return -1;
	if (zeros->block >= EROFS_HOLE)
		zeros->block = EROFS_HOLE; /* use_zeros() refuses it, if there is a hole */
	if (bootstrap_walk(b, &walker, err) < 0)
		return -1;
	if (zeros->n)
		erofs_super_seal(image);
	return 0;
}
