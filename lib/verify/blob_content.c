// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/blob_content.h"

#include <inttypes.h>
#include <string.h>

#include "fmt/erofs.h"
#include "lib/base/mem.h"
#include "lib/verify/users.h"

void blob_content_start(struct blob_content *c, struct hasher *hasher)
{
	c->hasher = hasher;
	c->block = xmalloc(EROFS_BLOCK_SIZE);
}

static void compare_first_block(struct blob_content *c, const uint8_t *have, size_t len)
{
	uint8_t want[EROFS_BLOCK_SIZE];

	erofs_empty_image(want);
	for (size_t i = 0; i < sizeof(want) && !c->first_differs; i++) {
		c->first_differs = i >= len || have[i] != want[i];
		c->first_at = (uint16_t)i;
	}
}

static void look_at_tail(struct blob_content *c, const struct tail *t, const uint8_t *block)
{
	for (unsigned i = t->used; i < EROFS_BLOCK_SIZE; i++) {
		if (!block[i])
			continue;
		if (c->n_bad < BAD_TAILS_MAX)
			c->bad[c->n_bad] = (struct bad_tail){ t, (uint16_t)i };
		c->n_bad++;
		return;
	}
}

/* Whole blocks from block number blk on; p NULL: not known. */
static void look_at_blocks(struct blob_content *c, const uint8_t *p, uint64_t blk, uint64_t n)
{
	if (c->is_device && blk == 0 && n && p)
		compare_first_block(c, p, EROFS_BLOCK_SIZE);
	for (; c->next_tail < c->n_tails; c->next_tail++) {
		const struct tail *t = &c->tails[c->next_tail];

		if (t->blk >= blk + n)
			return;
		if (p && t->blk >= blk)
			look_at_tail(c, t, p + (t->blk - blk) * EROFS_BLOCK_SIZE);
	}
}

/* A block in pieces is put together; one with a piece that is not known is not looked at. */
static size_t take_piece(struct blob_content *c, const uint8_t *p, size_t len)
{
	size_t n = EROFS_BLOCK_SIZE - c->fill;

	n = n < len ? n : len;
	if (p)
		memcpy(c->block + c->fill, p, n);
	else
		c->gap = true;
	c->fill += n;
	c->at += n;
	if (c->fill < EROFS_BLOCK_SIZE)
		return n;
	look_at_blocks(c, c->gap ? NULL : c->block, c->at / EROFS_BLOCK_SIZE - 1, 1);
	c->fill = 0;
	c->gap = false;
	return n;
}

void blob_content_take(struct blob_content *c, const uint8_t *p, size_t len)
{
	if (p && c->hasher)
		hasher_update(c->hasher, p, len);
	while (len) {
		size_t n = len - len % EROFS_BLOCK_SIZE;

		if (c->fill || !n) {
			n = take_piece(c, p, len);
		} else {
			look_at_blocks(c, p, c->at / EROFS_BLOCK_SIZE, n / EROFS_BLOCK_SIZE);
			c->at += n;
		}
		p = p ? p + n : NULL;
		len -= n;
	}
}

void blob_content_end(struct blob_content *c, struct digest *d)
{
	if (c->is_device && c->at < EROFS_BLOCK_SIZE && !c->gap)
		compare_first_block(c, c->block, c->fill);
	if (c->hasher)
		hasher_final(c->hasher, d);
}

static void report_tail(const struct bad_tail *bad, const char *name, unsigned device,
	const struct bootstrap *b, struct faults *faults)
{
	CLEANUP_FREE char *users = users_of_blocks(b, device, bad->tail->blk, 1);

	faults_add(faults,
		"%s: byte %" PRIu64 " is not zero, though it lies behind the end of a file: %s",
		name, (uint64_t)bad->tail->blk * EROFS_BLOCK_SIZE + bad->at, users);
}

void blob_content_report(const struct blob_content *c, const char *name, unsigned device,
	const struct bootstrap *b, struct faults *faults)
{
	if (c->first_differs)
		faults_add(faults, "%s: byte %u: its first block is not the empty EROFS image",
			name, c->first_at);
	for (size_t i = 0; b && i < c->n_bad && i < BAD_TAILS_MAX; i++)
		report_tail(&c->bad[i], name, device, b, faults);
	if (c->n_bad > BAD_TAILS_MAX)
		faults_add(faults, "%s: %zu more files have bytes behind their end", name,
			c->n_bad - BAD_TAILS_MAX);
}

void blob_content_free(struct blob_content *c)
{
	hasher_free(c->hasher);
	free(c->block);
}
