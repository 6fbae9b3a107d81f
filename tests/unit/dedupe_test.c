// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The index of stored blocks: candidates, devices, addresses. */
#include "config.h"

#include "lib/dedupe/index.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"

static struct block_key key_of(uint64_t n)
{
	struct block_key key = { .hash = n * 0x9e3779b97f4a7c15u };

	memcpy(key.tag, &n, sizeof(n));
	return key;
}

static uint32_t add(struct dedupe_index *index, struct block_key key)
{
	struct error *err = NULL;

	return dedupe_add(index, &key, &err);
}

static unsigned find(const struct dedupe_index *index, struct block_key key, uint32_t *numbers)
{
	return dedupe_find(index, &key, numbers);
}

static bool matches(const struct dedupe_index *index, uint32_t n, uint32_t like, uint64_t key)
{
	struct block_key k = key_of(key);

	return dedupe_matches(index, n, like, &k);
}

static void hashers_of_one_secret_agree_and_tell_blocks_apart(void)
{
	struct error *err = NULL;
	struct dedupe_secret secret, other;
	static uint8_t block[DEDUPE_BLOCK];
	struct block_key a, b, c;
	struct block_hasher *x, *y, *z;

	CHECK(dedupe_secret_new(&secret, &err) == 0);
	CHECK(dedupe_secret_new(&other, &err) == 0);
	x = block_hasher_new(&secret);
	y = block_hasher_new(&secret);
	z = block_hasher_new(&other);
	block_hasher_key(x, block, &a);
	block_hasher_key(y, block, &b);
	CHECK(a.hash == b.hash && !memcmp(a.tag, b.tag, DEDUPE_TAG));
	block_hasher_key(x, block, &b); /* a hasher is used again and again */
	CHECK(a.hash == b.hash && !memcmp(a.tag, b.tag, DEDUPE_TAG));
	block_hasher_key(z, block, &c);
	CHECK(memcmp(a.tag, c.tag, DEDUPE_TAG) != 0);
	for (size_t i = 0; i < DEDUPE_BLOCK; i += 15) {
		block[i] ^= 1;
		block_hasher_key(x, block, &b);
		CHECK(a.hash != b.hash && memcmp(a.tag, b.tag, DEDUPE_TAG) != 0);
		block[i] ^= 1;
	}
	block_hasher_free(x);
	block_hasher_free(y);
	block_hasher_free(z);
	block_hasher_free(NULL);
}

static void an_empty_index_knows_nothing(void)
{
	struct dedupe_index *index = dedupe_index_new();
	uint32_t numbers[DEDUPE_CANDIDATES];

	CHECK_U64(find(index, key_of(1), numbers), 0);
	dedupe_begin_device(index, 1, 1);
	CHECK(!matches(index, 1, 1, 1));
	dedupe_index_free(index);
	dedupe_index_free(NULL);
}

static void candidates_come_newest_first(void)
{
	struct dedupe_index *index = dedupe_index_new();
	uint32_t n[DEDUPE_CANDIDATES];

	dedupe_begin_device(index, 1, 1);
	CHECK_U64(add(index, key_of(1)), 1);
	CHECK_U64(add(index, key_of(2)), 2);
	CHECK_U64(add(index, key_of(1)), 3);
	CHECK_U64(add(index, key_of(1)), 4);
	CHECK_U64(find(index, key_of(1), n), 3);
	CHECK(n[0] == 4 && n[1] == 3 && n[2] == 1);
	CHECK_U64(find(index, key_of(2), n), 1);
	CHECK_U64(n[0], 2);
	dedupe_index_free(index);
}

static void equal_hashes_with_other_tags_are_no_candidates(void)
{
	struct dedupe_index *index = dedupe_index_new();
	struct block_key a = key_of(1), b = a;
	uint32_t n[DEDUPE_CANDIDATES];

	b.tag[DEDUPE_TAG - 1] ^= 0x80;
	dedupe_begin_device(index, 1, 1);
	add(index, a);
	CHECK_U64(find(index, b, n), 0);
	CHECK(!dedupe_matches(index, 1, 1, &b));
	b = a;
	b.hash ^= UINT64_C(1) << 63;
	CHECK_U64(find(index, b, n), 0);
	CHECK(!dedupe_matches(index, 1, 1, &b));
	CHECK(dedupe_matches(index, 1, 1, &a));
	dedupe_index_free(index);
}

static void matches_stay_in_one_device(void)
{
	struct dedupe_index *index = dedupe_index_new();

	dedupe_begin_device(index, 1, 1);
	for (uint64_t i = 0; i < 3; i++)
		add(index, key_of(i));
	dedupe_begin_device(index, 2, 1);
	for (uint64_t i = 3; i < 6; i++)
		add(index, key_of(i));
	CHECK(matches(index, 3, 1, 2));
	CHECK(!matches(index, 4, 1, 3));
	CHECK(!matches(index, 4, 3, 3));
	CHECK(matches(index, 4, 4, 3));
	CHECK(matches(index, 6, 4, 5));
	CHECK(!matches(index, 7, 4, 6));
	CHECK(!matches(index, UINT32_MAX, 4, 6));
	dedupe_index_free(index);
}

static void numbers_are_addresses_in_their_device(void)
{
	struct dedupe_index *index = dedupe_index_new();
	struct block_addr a;

	dedupe_begin_device(index, 1, 1);
	for (uint64_t i = 0; i < 5000; i++)
		add(index, key_of(i));
	dedupe_begin_device(index, 2, 1); /* stays empty */
	dedupe_begin_device(index, 3, 100);
	for (uint64_t i = 0; i < 5000; i++)
		add(index, key_of(i + 9999));
	dedupe_begin_device(index, 65535, 7);
	add(index, key_of(1));
	a = dedupe_addr(index, 1);
	CHECK(a.device == 1 && a.blk == 1);
	a = dedupe_addr(index, 5000);
	CHECK(a.device == 1 && a.blk == 5000);
	a = dedupe_addr(index, 5001);
	CHECK(a.device == 3 && a.blk == 100);
	a = dedupe_addr(index, 10000);
	CHECK(a.device == 3 && a.blk == 5099);
	a = dedupe_addr(index, 10001);
	CHECK(a.device == 65535 && a.blk == 7);
	dedupe_index_free(index);
}

static void a_block_stored_200000_times_costs_no_more_than_others(void)
{
	struct dedupe_index *index = dedupe_index_new();
	uint32_t n[DEDUPE_CANDIDATES];
	unsigned wrong = 0, count;

	dedupe_begin_device(index, 1, 1);
	for (uint32_t i = 1; i <= 200000; i++)
		wrong += add(index, key_of(42)) != i;
	count = find(index, key_of(42), n);
	CHECK_U64(count, DEDUPE_CANDIDATES);
	for (unsigned i = 0; i < count; i++) {
		wrong += !matches(index, n[i], 1, 42);
		wrong += i && n[i] >= n[i - 1];
	}
	CHECK_U64(wrong, 0);
	CHECK(matches(index, 123456, 1, 42));
	dedupe_index_free(index);
}

static void every_stored_block_is_found_in_a_large_index(void)
{
	enum { N = 100000, KINDS = 60000 };
	struct dedupe_index *index = dedupe_index_new();
	uint32_t *newest = calloc(KINDS, sizeof(*newest)), n[DEDUPE_CANDIDATES];
	uint64_t seed = 7;
	unsigned wrong = 0;

	dedupe_begin_device(index, 1, 1);
	for (unsigned i = 0; i < N; i++) {
		uint32_t kind = random_below(&seed, KINDS);

		newest[kind] = add(index, key_of(kind));
	}
	for (uint32_t kind = 0; kind < KINDS; kind++) {
		unsigned count = find(index, key_of(kind), n);

		wrong += newest[kind]
				 ? !count || (count < DEDUPE_CANDIDATES && n[0] != newest[kind])
				 : count > 0;
	}
	CHECK_U64(wrong, 0);
	free(newest);
	dedupe_index_free(index);
}

int main(void)
{
	RUN(hashers_of_one_secret_agree_and_tell_blocks_apart);
	RUN(an_empty_index_knows_nothing);
	RUN(candidates_come_newest_first);
	RUN(equal_hashes_with_other_tags_are_no_candidates);
	RUN(matches_stay_in_one_device);
	RUN(numbers_are_addresses_in_their_device);
	RUN(a_block_stored_200000_times_costs_no_more_than_others);
	RUN(every_stored_block_is_found_in_a_large_index);
	return tap_done();
}
