// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/unpack/content.h"

#include <string.h>

#include "lib/base/mem.h"

#define PIECE_SIZE 262144u /* whole blocks */

/* A file while it is read. */
struct reading {
	const struct content *c;
	const struct content_sink *sink;
	uint64_t size;
	bool find_zeros;
	uint8_t *buf;
};

static bool is_zero(const uint8_t *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static size_t block_len(size_t left)
{
	return left < EROFS_BLOCK_SIZE ? left : EROFS_BLOCK_SIZE;
}

/* Blocks that are alike, from `at` on: all zeros, or none. */
static size_t alike(const uint8_t *p, size_t at, size_t len, bool *zero)
{
	size_t end = at + block_len(len - at);

	*zero = is_zero(p + at, end - at);
	while (end < len && is_zero(p + end, block_len(len - end)) == *zero)
		end += block_len(len - end);
	return end;
}

static int give(
	const struct reading *r, uint64_t offset, const uint8_t *p, size_t len, struct error **err)
{
	size_t end;
	bool zero;

	if (!r->find_zeros)
		return r->sink->data(r->sink->arg, offset, p, len, err);
	for (size_t at = 0; at < len; at = end) {
		end = alike(p, at, len, &zero);
		if (zero ? r->sink->hole(r->sink->arg, offset + at, end - at, err)
			 : r->sink->data(r->sink->arg, offset + at, p + at, end - at, err))
			return -1;
	}
	return 0;
}

static int read_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	const struct reading *r = arg;
	uint64_t len = run->n_blk << EROFS_BLOCK_BITS, n;

	if (len > r->size - run->offset) /* the last block is not all the file's */
		len = r->size - run->offset;
	if (!run->device)
		return r->sink->hole(r->sink->arg, run->offset, len, err);
	for (uint64_t at = 0; at < len; at += n) {
		n = len - at < PIECE_SIZE ? len - at : PIECE_SIZE;
		if (device_read(r->c->devices[run->device - 1],
			    ((uint64_t)run->blk << EROFS_BLOCK_BITS) + at, r->buf, n, err) < 0 ||
			give(r, run->offset + at, r->buf, n, err))
			return -1;
	}
	return 0;
}

/* Of a file whose data lies in the bootstrap. */
static int read_flat(
	const struct reading *r, const struct bootstrap_inode *file, struct error **err)
{
	struct bootstrap_flat f;
	uint64_t n;

	bootstrap_flat(r->c->bootstrap, file, &f);
	for (uint64_t at = 0; at < f.head_size; at += n) {
		n = f.head_size - at < PIECE_SIZE ? f.head_size - at : PIECE_SIZE;
		if (give(r, at, f.head + at, n, err))
			return -1;
	}
	return f.tail_size ? give(r, f.head_size, f.tail, f.tail_size, err) : 0;
}

static int note_hole(void *arg, const struct bootstrap_run *run, struct error **err)
{
	bool *found = arg;

	(void)err;
	*found |= !run->device;
	return 0;
}

int content_has_holes(
	const struct content *c, const struct bootstrap_inode *file, struct error **err)
{
	bool found = false;

	if (bootstrap_runs(c->bootstrap, file, note_hole, &found, err) < 0)
		return -1;
	return found;
}

int content_read(const struct content *c, const struct bootstrap_inode *file, bool find_zeros,
	const struct content_sink *sink, struct error **err)
{
	CLEANUP_FREE uint8_t *buf = NULL;
	struct reading r = {
		.c = c, .sink = sink, .size = file->inode.size, .find_zeros = find_zeros
	};

	if (file->inode.layout != EROFS_CHUNKED)
		return read_flat(&r, file, err);
	r.buf = buf = xmalloc(r.size < PIECE_SIZE ? r.size + 1 : PIECE_SIZE);
	return bootstrap_runs(c->bootstrap, file, read_run, &r, err);
}
