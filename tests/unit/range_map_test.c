// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* From bytes to frames, against maps written by hand and against a search from the beginning. */
#include "config.h"

#include "lib/blob/range_map.h"

#include <zstd.h>

#include "fmt/chunk_index.h"
#include "fmt/le.h"
#include "lib/base/mem.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"

enum { MAX_FRAMES = 24 };

/* What a map says, as plain numbers. */
struct model {
	uint32_t n;
	uint64_t stored[MAX_FRAMES + 1], offset[MAX_FRAMES + 1]; /* [n]: the ends */
};

/* A payload of the model, all by hand: only the digests are not the frames'. */
static uint8_t *payload_of(const struct model *m, size_t *len)
{
	uint8_t *p = xzalloc(32 + 48 * (size_t)m->n);

	*len = 32 + 48 * (size_t)m->n;
	memcpy(p, "\xcd\xe4\xec\x67\1\1", 6);
	put_le64(p + 8, m->offset[m->n]);
	put_le32(p + 16, m->n);
	p[20] = 1;
	p[21] = 32;
	for (uint32_t i = 0; i < m->n; i++) {
		put_le64(p + 32 + 48 * i, m->stored[i]);
		put_le64(p + 40 + 48 * i, m->offset[i]);
		memset(p + 48 + 48 * i, (int)(i + 1), 32);
	}
	return p;
}

static struct range_map *map_of(const struct model *m, struct error **err)
{
	size_t len;
	uint8_t *p = payload_of(m, &len);
	struct digest d;

	digest_of(&d, DIGEST_SHA256, p, len);
	return range_map_new(p, len, m->stored[m->n], m->offset[m->n], &d, err);
}

static const struct model three = {
	.n = 3,
	.stored = { 0, 0x20, 0x9000, 0xa123 },
	.offset = { 0, 4096, 69632, 77824 },
};

static struct range_map *good_map(const struct model *m)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct range_map *map = map_of(m, &err);

	if (!CHECK(map != NULL)) {
		printf("# %s\n", err->msg);
		exit(99);
	}
	return map;
}

static void a_map_tells_of_its_frames(void)
{
	CLEANUP_RANGE_MAP struct range_map *map = good_map(&three);
	uint8_t sha256[32];

	CHECK_U64(range_map_device_size(map), 77824);
	CHECK_U64(range_map_stored_size(map), 0xa123);
	CHECK_U64(range_map_n_frames(map), 3);
	CHECK_U64(range_map_largest(map), 65536);
	CHECK_U64(range_map_largest_stored(map), 0x9000 - 0x20);
	for (uint32_t i = 0; i < 3; i++) {
		struct frame f = range_map_frame(map, i);

		CHECK_U64(f.number, i);
		CHECK_U64(f.stored_offset, three.stored[i]);
		CHECK_U64(f.stored_size, three.stored[i + 1] - three.stored[i]);
		CHECK_U64(f.offset, three.offset[i]);
		CHECK_U64(f.size, three.offset[i + 1] - three.offset[i]);
		memset(sha256, (int)(i + 1), sizeof(sha256));
		CHECK(memcmp(f.sha256, sha256, sizeof(sha256)) == 0);
	}
}

static void the_first_and_the_last_byte_of_a_frame_are_its_own(void)
{
	CLEANUP_RANGE_MAP struct range_map *map = good_map(&three);

	CHECK_U64(range_map_find(map, 0), 0);
	CHECK_U64(range_map_find(map, 4095), 0);
	CHECK_U64(range_map_find(map, 4096), 1);
	CHECK_U64(range_map_find(map, 69631), 1);
	CHECK_U64(range_map_find(map, 69632), 2);
	CHECK_U64(range_map_find(map, 77823), 2);
}

static void check_span(
	const struct range_map *map, uint64_t offset, uint64_t len, uint32_t first, uint32_t end)
{
	CLEANUP_ERROR struct error *err = NULL;
	uint32_t a = 99, b = 99;

	CHECK(range_map_span(map, offset, len, &a, &b, &err) == 0);
	CHECK_U64(b, end);
	if (!CHECK_U64(a, first) || b != end)
		printf("# %" PRIu64 " bytes at %" PRIu64 "\n", len, offset);
}

static void a_span_has_the_frames_that_it_touches(void)
{
	CLEANUP_RANGE_MAP struct range_map *map = good_map(&three);

	check_span(map, 0, 1, 0, 1);
	check_span(map, 0, 4096, 0, 1);
	check_span(map, 0, 4097, 0, 2);
	check_span(map, 4095, 1, 0, 1);
	check_span(map, 4095, 2, 0, 2);
	check_span(map, 4096, 65536, 1, 2);
	check_span(map, 4095, 65538, 0, 3);
	check_span(map, 77823, 1, 2, 3);
	check_span(map, 0, 77824, 0, 3);
}

static void a_span_of_nothing_has_no_frames(void)
{
	CLEANUP_RANGE_MAP struct range_map *map = good_map(&three);

	check_span(map, 0, 0, 0, 0);
	check_span(map, 4096, 0, 1, 1);
	check_span(map, 77823, 0, 2, 2);
	check_span(map, 77824, 0, 3, 3);
}

static void beyond(const struct range_map *map, uint64_t offset, uint64_t len)
{
	CLEANUP_ERROR struct error *err = NULL;
	uint32_t a, b;

	if (CHECK(range_map_span(map, offset, len, &a, &b, &err) == -1))
		CHECK(strstr(err->msg, "beyond the device's 77824") != NULL);
}

static void a_span_beyond_the_device_is_an_error(void)
{
	CLEANUP_RANGE_MAP struct range_map *map = good_map(&three);

	beyond(map, 0, 77825);
	beyond(map, 77823, 2);
	beyond(map, 77824, 1);
	beyond(map, 77825, 0);
	beyond(map, 1, UINT64_MAX);
	beyond(map, 4096, UINT64_MAX - 4095); /* their sum is 0 */
	beyond(map, UINT64_MAX, 1);
	beyond(map, UINT64_MAX, UINT64_MAX);
}

static void an_empty_device_has_a_map(void)
{
	static const struct model empty = { .n = 0 };
	CLEANUP_RANGE_MAP struct range_map *map = good_map(&empty);
	CLEANUP_ERROR struct error *err = NULL;
	uint32_t a, b;

	CHECK_U64(range_map_device_size(map), 0);
	CHECK_U64(range_map_stored_size(map), 0);
	CHECK_U64(range_map_n_frames(map), 0);
	CHECK_U64(range_map_largest(map), 0);
	check_span(map, 0, 0, 0, 0);
	CHECK(range_map_span(map, 0, 1, &a, &b, &err) == -1);
}

static void refused(const struct model *m, const char *what)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_RANGE_MAP struct range_map *map = map_of(m, &err);

	if (CHECK(map == NULL) && !CHECK(strstr(err->msg, what) != NULL))
		printf("# %s\n", err->msg);
}

static void a_frame_over_16_MiB_is_refused(void)
{
	struct model m = three;

	m.offset[2] = m.offset[1] + FRAME_SIZE_MAX;
	m.offset[3] = m.offset[2] + FRAME_SIZE_MAX;
	range_map_free(good_map(&m));
	m.offset[3]++;
	refused(&m, "frame 2 has 16777217 bytes uncompressed; at most 16777216 are read");
	m.offset[1] = FRAME_SIZE_MAX + 1;
	refused(&m, "frame 0 has 16777217 bytes uncompressed; at most 16777216 are read");
	m = three;
	m.offset[3] = UINT64_MAX;
	refused(&m, "frame 2 has");
	/* what a 32-bit size would take for 4096 bytes */
	m.offset[3] = m.offset[2] + (UINT64_C(1) << 32) + 4096;
	refused(&m, "frame 2 has 4294971392 bytes uncompressed");
}

static void a_frame_longer_than_zstd_can_make_it_is_refused(void)
{
	struct model m = three;

	m.stored[1] = ZSTD_compressBound(4096) + 64;
	m.stored[2] = m.stored[1] + ZSTD_compressBound(65536) + 64;
	m.stored[3] = m.stored[2] + ZSTD_compressBound(8192) + 64;
	range_map_free(good_map(&m));
	m.stored[3]++;
	refused(&m, "frame 2 has 8349 bytes as stored, more than its 8192 bytes can take");
	m.stored[3] = m.stored[2] + (UINT64_C(1) << 32) + 100;
	refused(&m, "frame 2 has 4294967396 bytes as stored");
	m.stored[1]++;
	refused(&m, "frame 0 has");
	m = three;
	m.stored[3] = UINT64_MAX;
	refused(&m, "frame 2 has");
}

static void a_malformed_index_is_refused_with_its_place(void)
{
	struct model m = three;

	m.stored[1] = 0;
	refused(&m, "chunk index has a wrong stored offset (at byte 80 of the index)");
	m = three;
	m.offset[2] = 4096;
	refused(&m, "chunk index has a wrong uncompressed offset (at byte 136 of the index)");
}

static void expect_error(uint8_t *payload, size_t len, uint64_t device_size,
	const struct digest *want, const char *what)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_RANGE_MAP struct range_map *map =
		range_map_new(payload, len, three.stored[3], device_size, want, &err);

	if (CHECK(map == NULL) && !CHECK(strstr(err->msg, what) != NULL))
		printf("# %s\n", err->msg);
}

static void any_changed_bit_is_found_by_the_digest(void)
{
	size_t len;
	uint8_t *good = payload_of(&three, &len);
	struct digest want;

	digest_of(&want, DIGEST_SHA256, good, len);
	for (size_t bit = 0; bit < len * 8; bit++) {
		uint8_t *bad = xmemdup(good, len);

		bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		expect_error(bad, len, 77824, &want, "the chunk index has the digest sha256:");
	}
	expect_error(xmemdup(good, len - 1), len - 1, 77824, &want, "the chunk index has");
	want.bytes[31] ^= 1;
	expect_error(good, len, 77824, &want, "the chunk index has the digest sha256:");
}

static void a_digest_of_another_kind_is_never_right(void)
{
	size_t len;
	uint8_t *p = payload_of(&three, &len);
	struct digest want;

	digest_of(&want, DIGEST_SHA512, p, len);
	expect_error(p, len, 77824, &want, "expected sha512:");
}

static void the_device_s_size_must_be_the_expected_one(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_RANGE_MAP struct range_map *map = NULL;
	size_t len;
	uint8_t *p = payload_of(&three, &len);
	struct digest want;

	digest_of(&want, DIGEST_SHA256, p, len);
	expect_error(xmemdup(p, len), len, 77823, &want,
		"the chunk index is for 77824 bytes, expected 77823");
	expect_error(xmemdup(p, len), len, 0, &want, "expected 0");
	map = range_map_new(p, len, three.stored[3], UINT64_MAX, &want, &err);
	if (CHECK(map != NULL))
		CHECK_U64(range_map_device_size(map), 77824);
}

static void an_index_over_256_MiB_is_not_even_looked_at(void)
{
	struct digest want = { .algo = DIGEST_SHA256 };

	expect_error(xmalloc((size_t)RANGE_MAP_BYTES_MAX + 1), (size_t)RANGE_MAP_BYTES_MAX + 1,
		UINT64_MAX, &want, "has 268435457 bytes; at most 268435456 are read");
}

static void bytes_that_are_no_index_are_refused(void)
{
	struct digest want;

	digest_of(&want, DIGEST_SHA256, "", 0);
	expect_error(xmalloc(1), 0, UINT64_MAX, &want, "chunk index is cut off");
	digest_of(&want, DIGEST_SHA256, "nonsense", 8);
	expect_error(xmemdup("nonsense", 8), 8, UINT64_MAX, &want, "chunk index is cut off");
}

/* Mostly small frames, sometimes the largest; sizes of 1 byte and of blocks. */
static void random_model(uint64_t *state, struct model *m)
{
	*m = (struct model){ .n = random_below(state, MAX_FRAMES + 1) };
	for (uint32_t i = 0; i < m->n; i++) {
		uint32_t kind = random_below(state, 4), size = 1, stored;

		if (kind == 1)
			size = 4096 * (1 + random_below(state, 100));
		if (kind == 2)
			size = 1 + random_below(state, 1000);
		if (kind == 3)
			size = FRAME_SIZE_MAX - random_below(state, 2);
		stored = 1 + random_below(state, (uint32_t)ZSTD_COMPRESSBOUND(size) + 64);
		m->offset[i + 1] = m->offset[i] + size;
		m->stored[i + 1] = m->stored[i] + stored;
	}
}

static uint32_t find_from_the_beginning(const struct model *m, uint64_t offset)
{
	uint32_t i = 0;

	while (offset >= m->offset[i + 1])
		i++;
	return i;
}

static void check_random_span(uint64_t *state, const struct model *m, const struct range_map *map)
{
	uint64_t size = m->offset[m->n], offset = random_u64(state) % size;
	uint64_t len = 1 + random_u64(state) % (size - offset);

	check_span(map, offset, len, find_from_the_beginning(m, offset),
		find_from_the_beginning(m, offset + len - 1) + 1);
}

static void check_model(uint64_t *state, const struct model *m, const struct range_map *map)
{
	for (uint32_t i = 0; i < m->n; i++) {
		struct frame f = range_map_frame(map, i);
		uint64_t inside = m->offset[i] + random_u64(state) % f.size;

		CHECK_U64(f.offset, m->offset[i]);
		CHECK_U64(f.size, m->offset[i + 1] - m->offset[i]);
		CHECK_U64(f.stored_offset, m->stored[i]);
		CHECK_U64(f.stored_size, m->stored[i + 1] - m->stored[i]);
		CHECK_U64(range_map_find(map, m->offset[i]), i);
		CHECK_U64(range_map_find(map, m->offset[i + 1] - 1), i);
		CHECK_U64(range_map_find(map, inside), find_from_the_beginning(m, inside));
		check_random_span(state, m, map);
	}
}

static void random_maps_answer_as_a_search_from_the_beginning_does(void)
{
	uint64_t state = 4;

	for (unsigned i = 0; i < 100000 && !tap_failed_checks; i++) {
		CLEANUP_RANGE_MAP struct range_map *map = NULL;
		struct model m;

		random_model(&state, &m);
		map = good_map(&m);
		check_model(&state, &m, map);
	}
}

static void a_map_of_a_million_frames_finds_each(void)
{
	enum { N = 1000000 };
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_RANGE_MAP struct range_map *map = NULL;
	uint8_t *p = xzalloc(32 + 48 * (size_t)N);
	struct digest want;

	chunk_index_put_header(p, (uint64_t)N * FRAME_SIZE_MAX, N);
	for (uint64_t i = 0; i < N; i++) {
		put_le64(p + 32 + 48 * i, i * 16000000);
		put_le64(p + 40 + 48 * i, i * FRAME_SIZE_MAX);
	}
	digest_of(&want, DIGEST_SHA256, p, 32 + 48 * (size_t)N);
	map = range_map_new(
		p, 32 + 48 * (size_t)N, UINT64_C(16000000) * N, UINT64_MAX, &want, &err);
	if (!CHECK(map != NULL))
		return;
	for (uint64_t i = 0; i < N && !tap_failed_checks; i++) {
		CHECK_U64(range_map_find(map, i * FRAME_SIZE_MAX), i);
		CHECK_U64(range_map_find(map, (i + 1) * FRAME_SIZE_MAX - 1), i);
	}
}

int main(void)
{
	RUN(a_map_tells_of_its_frames);
	RUN(the_first_and_the_last_byte_of_a_frame_are_its_own);
	RUN(a_span_has_the_frames_that_it_touches);
	RUN(a_span_of_nothing_has_no_frames);
	RUN(a_span_beyond_the_device_is_an_error);
	RUN(an_empty_device_has_a_map);
	RUN(a_frame_over_16_MiB_is_refused);
	RUN(a_frame_longer_than_zstd_can_make_it_is_refused);
	RUN(a_malformed_index_is_refused_with_its_place);
	RUN(any_changed_bit_is_found_by_the_digest);
	RUN(a_digest_of_another_kind_is_never_right);
	RUN(the_device_s_size_must_be_the_expected_one);
	RUN(an_index_over_256_MiB_is_not_even_looked_at);
	RUN(bytes_that_are_no_index_are_refused);
	RUN(random_maps_answer_as_a_search_from_the_beginning_does);
	RUN(a_map_of_a_million_frames_finds_each);
	return tap_done();
}
