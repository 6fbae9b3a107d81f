// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* A content's digest is a function of its bytes, however they come. */
#include "config.h"

#include "lib/base/mem.h"
#include "lib/verify/fingerprint.h"
#include "tests/unit/tap.h"

/* A file of 64 blocks, some of them zero, and a part of another one. */
enum { SIZE = 64 * FINGERPRINT_BLOCK + 1000 };

static uint8_t bytes[SIZE];

static bool block_is_zero(size_t i)
{
	return i % 5 == 0 || (i > 20 && i < 30);
}

static void fill(void)
{
	uint32_t random = 1;

	for (size_t i = 0; i < SIZE; i++) {
		random = random * 1664525 + 1013904223;
		bytes[i] = block_is_zero(i / FINGERPRINT_BLOCK) ? 0 : (uint8_t)(random >> 24);
	}
}

/* In pieces of `piece` bytes. */
static void digest_in_pieces(const uint8_t *p, size_t len, size_t piece, uint8_t out[static 32])
{
	CLEANUP_FINGERPRINT struct fingerprint c = { 0 };

	fingerprint_begin(&c);
	for (size_t at = 0; at < len; at += piece)
		fingerprint_data(&c, p + at, piece < len - at ? piece : len - at);
	fingerprint_end(&c, out);
}

static bool same_in_pieces(size_t piece)
{
	uint8_t whole[32], pieces[32];

	digest_in_pieces(bytes, SIZE, SIZE, whole);
	digest_in_pieces(bytes, SIZE, piece, pieces);
	return !memcmp(whole, pieces, sizeof(whole));
}

static void pieces_of_any_size_make_the_same_digest(void)
{
	static const size_t pieces[] = { 1, 7, 511, 512, 4095, 4096, 4097, 8192, 12289, 65536 };

	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++)
		CHECK(same_in_pieces(pieces[i]));
}

/* [from, from + len), which is zero, as a hole. */
static bool same_with_hole(size_t from, size_t len)
{
	CLEANUP_FINGERPRINT struct fingerprint c = { 0 };
	uint8_t whole[32], holed[32];

	digest_in_pieces(bytes, SIZE, SIZE, whole);
	fingerprint_begin(&c);
	fingerprint_data(&c, bytes, from);
	fingerprint_hole(&c, len);
	fingerprint_data(&c, bytes + from + len, SIZE - from - len);
	fingerprint_end(&c, holed);
	return !memcmp(whole, holed, sizeof(whole));
}

static void a_hole_is_zeros(void)
{
	size_t at = 21 * FINGERPRINT_BLOCK;

	CHECK(same_with_hole(0, FINGERPRINT_BLOCK));
	CHECK(same_with_hole(at, 9 * FINGERPRINT_BLOCK));
	CHECK(same_with_hole(at + 1, 9 * FINGERPRINT_BLOCK - 2));
	CHECK(same_with_hole(at + 100, 50));
	CHECK(same_with_hole(at + 4095, 2));
}

static void each_byte_counts(void)
{
	uint8_t before[32], after[32];

	digest_in_pieces(bytes, SIZE, SIZE, before);
	for (size_t at = 0; at < SIZE; at += 997) {
		bytes[at] ^= 1;
		digest_in_pieces(bytes, SIZE, SIZE, after);
		CHECK(memcmp(before, after, sizeof(before)) != 0);
		bytes[at] ^= 1;
	}
}

static void moved_zeros_make_another_digest(void)
{
	CLEANUP_FREE uint8_t *moved = xmemdup(bytes, SIZE);
	uint8_t before[32], after[32];

	/* blocks 0 (zeros) and 1 (data) change places: the data is the same */
	memcpy(moved, bytes + FINGERPRINT_BLOCK, FINGERPRINT_BLOCK);
	memcpy(moved + FINGERPRINT_BLOCK, bytes, FINGERPRINT_BLOCK);
	digest_in_pieces(bytes, SIZE, SIZE, before);
	digest_in_pieces(moved, SIZE, SIZE, after);
	CHECK(memcmp(before, after, sizeof(before)) != 0);
}

static void a_hole_of_an_exabyte_takes_no_time(void)
{
	CLEANUP_FINGERPRINT struct fingerprint c = { 0 };
	uint8_t one[32], other[32];

	fingerprint_begin(&c);
	fingerprint_hole(&c, UINT64_C(1) << 60);
	fingerprint_end(&c, one);
	fingerprint_begin(&c);
	fingerprint_hole(&c, (UINT64_C(1) << 60) + FINGERPRINT_BLOCK);
	fingerprint_end(&c, other);
	CHECK(memcmp(one, other, sizeof(one)) != 0);
}

int main(void)
{
	fill();
	RUN(pieces_of_any_size_make_the_same_digest);
	RUN(a_hole_is_zeros);
	RUN(each_byte_counts);
	RUN(moved_zeros_make_another_digest);
	RUN(a_hole_of_an_exabyte_takes_no_time);
	return tap_done();
}
