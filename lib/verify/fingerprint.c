// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/fingerprint.h"

#include <string.h>

#include "fmt/le.h"

static bool is_zero(const uint8_t *block)
{
	return !block[0] && !memcmp(block, block + 1, FINGERPRINT_BLOCK - 1);
}

void fingerprint_begin(struct fingerprint *c)
{
	c->data = hasher_new(DIGEST_SHA256);
	c->runs = NULL;
	c->run = 0;
	c->in_zeros = false;
	c->fill = 0;
}

/* Runs take turns; the first one is of data, and may be empty. */
static void end_run(struct fingerprint *c)
{
	uint8_t bytes[8];

	if (!c->runs)
		c->runs = hasher_new(DIGEST_SHA256);
	put_le64(bytes, c->run);
	hasher_update(c->runs, bytes, sizeof(bytes));
	c->in_zeros = !c->in_zeros;
	c->run = 0;
}

static void add_zeros(struct fingerprint *c, uint64_t n)
{
	if (!n)
		return;
	if (!c->in_zeros)
		end_run(c);
	c->run += n;
}

static void add_data(struct fingerprint *c, const uint8_t *p, size_t n)
{
	if (!n)
		return;
	if (c->in_zeros)
		end_run(c);
	c->run += n;
	hasher_update(c->data, p, n * FINGERPRINT_BLOCK);
}

/* Whole blocks; those between two zero ones are hashed together. */
static void add_blocks(struct fingerprint *c, const uint8_t *p, size_t n)
{
	size_t begin = 0;

	for (size_t i = 0; i < n; i++) {
		if (!is_zero(p + i * FINGERPRINT_BLOCK))
			continue;
		add_data(c, p + begin * FINGERPRINT_BLOCK, i - begin);
		add_zeros(c, 1);
		begin = i + 1;
	}
	add_data(c, p + begin * FINGERPRINT_BLOCK, n - begin);
}

/* Bytes for the open block; how many it took. p NULL: zeros. */
static size_t fill_block(struct fingerprint *c, const uint8_t *p, uint64_t len)
{
	size_t n = FINGERPRINT_BLOCK - c->fill;

	n = n < len ? n : (size_t)len;
	if (p)
		memcpy(c->block + c->fill, p, n);
	else
		memset(c->block + c->fill, 0, n);
	c->fill += n;
	if (c->fill == FINGERPRINT_BLOCK) {
		add_blocks(c, c->block, 1);
		c->fill = 0;
	}
	return n;
}

void fingerprint_data(struct fingerprint *c, const uint8_t *p, size_t len)
{
	size_t n;

	if (c->fill) {
		n = fill_block(c, p, len);
		p += n;
		len -= n;
	}
	n = len / FINGERPRINT_BLOCK;
	add_blocks(c, p, n);
	if (len % FINGERPRINT_BLOCK)
		fill_block(c, p + n * FINGERPRINT_BLOCK, len % FINGERPRINT_BLOCK);
}

void fingerprint_hole(struct fingerprint *c, uint64_t len)
{
	if (c->fill)
		len -= fill_block(c, NULL, len);
	add_zeros(c, len / FINGERPRINT_BLOCK);
	if (len % FINGERPRINT_BLOCK)
		fill_block(c, NULL, len % FINGERPRINT_BLOCK);
}

void fingerprint_end(struct fingerprint *c, uint8_t digest[static FINGERPRINT_SIZE])
{
	struct digest d;

	if (c->fill)
		fill_block(c, NULL, FINGERPRINT_BLOCK - c->fill);
	if (c->runs) {
		end_run(c);
		hasher_final(c->runs, &d);
		hasher_update(c->data, d.bytes, FINGERPRINT_SIZE);
	}
	hasher_final(c->data, &d);
	memcpy(digest, d.bytes, FINGERPRINT_SIZE);
	fingerprint_free(c);
}

void fingerprint_free(struct fingerprint *c)
{
	hasher_free(c->data);
	hasher_free(c->runs);
	c->data = c->runs = NULL;
}
