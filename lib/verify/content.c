// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/content.h"

#include <string.h>

#include "fmt/le.h"

static bool is_zero(const uint8_t *block)
{
	return !block[0] && !memcmp(block, block + 1, CONTENT_BLOCK - 1);
}

void content_begin(struct content *c)
{
	c->data = hasher_new(DIGEST_SHA256);
	c->runs = NULL;
	c->run = 0;
	c->in_zeros = false;
	c->fill = 0;
}

/* Runs take turns; the first one is of data, and may be empty. */
static void end_run(struct content *c)
{
	uint8_t bytes[8];

	if (!c->runs)
		c->runs = hasher_new(DIGEST_SHA256);
	put_le64(bytes, c->run);
	hasher_update(c->runs, bytes, sizeof(bytes));
	c->in_zeros = !c->in_zeros;
	c->run = 0;
}

static void add_zeros(struct content *c, uint64_t n)
{
	if (!n)
		return;
	if (!c->in_zeros)
		end_run(c);
	c->run += n;
}

static void add_data(struct content *c, const uint8_t *p, size_t n)
{
	if (!n)
		return;
	if (c->in_zeros)
		end_run(c);
	c->run += n;
	hasher_update(c->data, p, n * CONTENT_BLOCK);
}

/* Whole blocks; those between two zero ones are hashed together. */
static void add_blocks(struct content *c, const uint8_t *p, size_t n)
{
	size_t begin = 0;

	for (size_t i = 0; i < n; i++) {
		if (!is_zero(p + i * CONTENT_BLOCK))
			continue;
		add_data(c, p + begin * CONTENT_BLOCK, i - begin);
		add_zeros(c, 1);
		begin = i + 1;
	}
	add_data(c, p + begin * CONTENT_BLOCK, n - begin);
}

/* Bytes for the open block; how many it took. p NULL: zeros. */
static size_t fill_block(struct content *c, const uint8_t *p, uint64_t len)
{
	size_t n = CONTENT_BLOCK - c->fill;

	n = n < len ? n : (size_t)len;
	if (p)
		memcpy(c->block + c->fill, p, n);
	else
		memset(c->block + c->fill, 0, n);
	c->fill += n;
	if (c->fill == CONTENT_BLOCK) {
		add_blocks(c, c->block, 1);
		c->fill = 0;
	}
	return n;
}

void content_data(struct content *c, const uint8_t *p, size_t len)
{
	size_t n;

	if (c->fill) {
		n = fill_block(c, p, len);
		p += n;
		len -= n;
	}
	n = len / CONTENT_BLOCK;
	add_blocks(c, p, n);
	if (len % CONTENT_BLOCK)
		fill_block(c, p + n * CONTENT_BLOCK, len % CONTENT_BLOCK);
}

void content_hole(struct content *c, uint64_t len)
{
	if (c->fill)
		len -= fill_block(c, NULL, len);
	add_zeros(c, len / CONTENT_BLOCK);
	if (len % CONTENT_BLOCK)
		fill_block(c, NULL, len % CONTENT_BLOCK);
}

void content_end(struct content *c, uint8_t digest[static CONTENT_DIGEST])
{
	struct digest d;

	if (c->fill)
		fill_block(c, NULL, CONTENT_BLOCK - c->fill);
	if (c->runs) {
		end_run(c);
		hasher_final(c->runs, &d);
		hasher_update(c->data, d.bytes, CONTENT_DIGEST);
	}
	hasher_final(c->data, &d);
	memcpy(digest, d.bytes, CONTENT_DIGEST);
	content_free(c);
}

void content_free(struct content *c)
{
	hasher_free(c->data);
	hasher_free(c->runs);
	c->data = c->runs = NULL;
}
