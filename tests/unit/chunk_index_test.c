// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The chunk index's bytes, written by hand from the draft; and every way to get them wrong. */
#include "config.h"

#include "fmt/chunk_index.h"
#include "fmt/le.h"
#include "tests/unit/tap.h"

/* Frames at 0, 0x123 and 0x10456 of a blob, of 4096, 65536 and 8192 bytes; digests 11.., 22.. */
#define REPEAT8(b)  b, b, b, b, b, b, b, b
#define REPEAT32(b) REPEAT8(b), REPEAT8(b), REPEAT8(b), REPEAT8(b)
/* clang-format off */
static const uint8_t three_frames[] = {
	0xcd, 0xe4, 0xec, 0x67,				/* magic */
	0x01,						/* version */
	0x01,						/* zstd */
	0x00, 0x00,					/* flags */
	0x00, 0x30, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,	/* 4096 + 65536 + 8192 */
	0x03, 0x00, 0x00, 0x00,				/* entries */
	0x01, 0x20,					/* SHA-2, 32 bytes */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,

	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	REPEAT32(0x11),
	0x23, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	REPEAT32(0x22),
	0x56, 0x04, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x10, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
	REPEAT32(0x33),
};
static const uint8_t no_frames[] = {
	0xcd, 0xe4, 0xec, 0x67, 0x01, 0x01, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x01, 0x20, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};
/* clang-format on */
enum { SIZE = 77824, FRAMES_END = 0x10460 };
_Static_assert(sizeof(three_frames) == 32 + 3 * 48, "as the draft says");

static const struct chunk_entry entries[] = {
	{ 0, 0, three_frames + 32 + 16 },
	{ 0x123, 0x1000, three_frames + 80 + 16 },
	{ 0x10456, 0x11000, three_frames + 128 + 16 },
};

static void sizes_follow_from_the_number_of_frames(void)
{
	CHECK_U64(chunk_index_size(0), 32);
	CHECK_U64(chunk_index_size(1), 80);
	CHECK_U64(chunk_index_size(3), sizeof(three_frames));
	CHECK_U64(chunk_index_size(UINT32_MAX), 206158430192u);
}

static void the_encoder_writes_the_bytes_of_the_draft(void)
{
	uint8_t out[sizeof(three_frames)];

	memset(out, 0xee, sizeof(out));
	chunk_index_put_header(out, SIZE, 3);
	for (unsigned i = 0; i < 3; i++)
		chunk_index_put_entry(out + 32 + 48 * i, &entries[i]);
	CHECK(memcmp(out, three_frames, sizeof(out)) == 0);
	chunk_index_put_header(out, 0, 0);
	CHECK(memcmp(out, no_frames, sizeof(no_frames)) == 0);
	chunk_index_put_header(out, 0x8877665544332211u, 0xccbbaa99u);
	CHECK(memcmp(out + 8, "\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc", 12) == 0);
}

static void a_good_index_is_read_entry_by_entry(void)
{
	struct chunk_index index;
	struct fault fault;

	if (!CHECK(chunk_index_parse(
			   &index, three_frames, sizeof(three_frames), FRAMES_END, &fault) == 0))
		return;
	CHECK_U64(index.uncompressed_size, SIZE);
	CHECK_U64(index.n, 3);
	CHECK(index.entries == three_frames + 32);
	for (unsigned i = 0; i < 3; i++) {
		struct chunk_entry e = chunk_index_entry(&index, i);

		CHECK_U64(e.stored_offset, entries[i].stored_offset);
		CHECK_U64(e.offset, entries[i].offset);
		CHECK(e.sha256 == entries[i].sha256);
	}
}

/* Parse a copy with nothing behind it, so that a sanitizer sees a read too far. */
static int parse(const uint8_t *payload, size_t len, uint64_t frames_end, struct fault *fault)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct chunk_index index;
	int rc;

	memcpy(copy, payload, len);
	*fault = (struct fault){ "none", UINT64_MAX };
	rc = chunk_index_parse(&index, copy, len, frames_end, fault);
	free(copy);
	return rc;
}

static bool refused(
	const uint8_t *payload, size_t len, uint64_t frames_end, const char *what, uint64_t offset)
{
	struct fault fault;

	CHECK(parse(payload, len, frames_end, &fault) == -1);
	CHECK_U64(fault.offset, offset);
	return CHECK_STR(fault.what, what) && fault.offset == offset;
}

/* The index with `n` of its bytes replaced. */
static void change_is_refused(
	size_t at, const char *bytes, size_t n, const char *what, uint64_t offset)
{
	uint8_t copy[sizeof(three_frames)];

	memcpy(copy, three_frames, sizeof(copy));
	memcpy(copy + at, bytes, n);
	if (!refused(copy, sizeof(copy), FRAMES_END, what, offset))
		printf("# in the byte at %zu\n", at);
}

static void every_bit_of_the_header_but_its_size_matters(void)
{
	struct fault fault;

	for (size_t bit = 0; bit < 32 * 8; bit++) {
		uint8_t copy[sizeof(three_frames)];

		memcpy(copy, three_frames, sizeof(copy));
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (bit / 8 >= 8 && bit / 8 < 16)
			continue; /* the size: any above the last entry's offset is possible */
		if (!CHECK(parse(copy, sizeof(copy), FRAMES_END, &fault) == -1))
			printf("# bit %zu\n", bit);
	}
}

static void a_wrong_header_says_where_it_is_wrong(void)
{
	for (size_t i = 0; i < 4; i++)
		change_is_refused(i, "\xff", 1, "chunk index has a wrong magic number", 0);
	change_is_refused(0, "\x67\xec\xe4\xcd", 4, "chunk index has a wrong magic number", 0);
	change_is_refused(4, "\0", 1, "chunk index has an unknown version", 4);
	change_is_refused(4, "\2", 1, "chunk index has an unknown version", 4);
	change_is_refused(5, "\0", 1, "chunk index is not one of zstd frames", 5);
	change_is_refused(5, "\2", 1, "chunk index is not one of zstd frames", 5);
	change_is_refused(6, "\1", 1, "chunk index has unknown flags", 6);
	change_is_refused(7, "\x80", 1, "chunk index has unknown flags", 6);
	change_is_refused(20, "\0", 1, "chunk index has no SHA-2 digests", 20);
	change_is_refused(20, "\2", 1, "chunk index has no SHA-2 digests", 20);
	change_is_refused(21, "\0", 1, "chunk index has digests of another size than 32 bytes", 21);
	change_is_refused(
		21, "\x40", 1, "chunk index has digests of another size than 32 bytes", 21);
	for (size_t i = 22; i < 32; i++)
		change_is_refused(i, "\1", 1, "a reserved byte of the chunk index is not zero", i);
}

static void the_number_of_entries_must_be_that_of_the_bytes(void)
{
	const char *wrong = "chunk index has a wrong number of entries";

	change_is_refused(16, "\0\0\0\0", 4, wrong, 16);
	change_is_refused(16, "\2\0\0\0", 4, wrong, 16);
	change_is_refused(16, "\4\0\0\0", 4, wrong, 16);
	change_is_refused(16, "\xff\xff\xff\xff", 4, wrong, 16);
	/* with these, 32-bit arithmetic would see 3 entries' bytes: 48 << 28 is 3 << 32 */
	change_is_refused(16, "\3\0\0\x10", 4, wrong, 16);
	change_is_refused(16, "\3\0\0\xf0", 4, wrong, 16);
	for (size_t len = 32; len < sizeof(three_frames); len++)
		refused(three_frames, len, FRAMES_END, wrong, 16);
	for (size_t len = 0; len < 32; len++)
		refused(three_frames, len, FRAMES_END, "chunk index is cut off", len);
}

static void bytes_behind_the_last_entry_are_refused(void)
{
	uint8_t longer[sizeof(three_frames) + 48] = { 0 };

	memcpy(longer, three_frames, sizeof(three_frames));
	for (size_t len = sizeof(three_frames) + 1; len <= sizeof(longer); len++)
		refused(longer, len, FRAMES_END, "chunk index has a wrong number of entries", 16);
}

static void offsets_begin_at_0_and_rise(void)
{
	const char *stored = "chunk index has a wrong stored offset";
	const char *offset = "chunk index has a wrong uncompressed offset";

	/* the first */
	change_is_refused(32, "\1", 1, stored, 32);
	change_is_refused(40, "\1", 1, offset, 40);
	change_is_refused(39, "\x80", 1, stored, 32);
	/* equal to the one before */
	change_is_refused(80, "\0\0", 2, stored, 80);
	change_is_refused(88, "\0\0", 2, offset, 88);
	change_is_refused(128, "\x23\x01\0", 3, stored, 128);
	change_is_refused(136, "\x00\x10\0", 3, offset, 136);
	/* below it */
	change_is_refused(128, "\x22\x01\0", 3, stored, 128);
	change_is_refused(136, "\xff\x0f\0", 3, offset, 136);
	/* at the end, behind it, and so far that a signed number would be below */
	change_is_refused(128, "\x60\x04\x01", 3, stored, 128);
	change_is_refused(136, "\x00\x30\x01", 3, offset, 136);
	change_is_refused(128, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, stored, 128);
	change_is_refused(136, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, offset, 136);
	change_is_refused(80, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, stored, 80);
	change_is_refused(135, "\x80", 1, stored, 128);
}

static void offsets_just_inside_are_good(void)
{
	uint8_t copy[sizeof(three_frames)];
	struct fault fault;

	memcpy(copy, three_frames, sizeof(copy));
	put_le64(copy + 80, 1);
	put_le64(copy + 88, 1);
	put_le64(copy + 128, FRAMES_END - 1);
	put_le64(copy + 136, SIZE - 1);
	CHECK(parse(copy, sizeof(copy), FRAMES_END, &fault) == 0);
	put_le64(copy + 8, UINT64_MAX);
	put_le64(copy + 128, UINT64_MAX - 1);
	put_le64(copy + 136, UINT64_MAX - 1);
	CHECK(parse(copy, sizeof(copy), UINT64_MAX, &fault) == 0);
	put_le64(copy + 136, UINT64_MAX);
	refused(copy, sizeof(copy), UINT64_MAX, "chunk index has a wrong uncompressed offset", 136);
}

static void the_ends_bound_all_offsets(void)
{
	const char *stored = "chunk index has a wrong stored offset";

	refused(three_frames, sizeof(three_frames), 0, stored, 32);
	refused(three_frames, sizeof(three_frames), 0x123, stored, 80);
	refused(three_frames, sizeof(three_frames), 0x10456, stored, 128);
	change_is_refused(
		8, "\0\0\0", 3, "chunk index has a wrong uncompressed offset", 40); /* size 0 */
	change_is_refused(8, "\0\x10\1", 3, "chunk index has a wrong uncompressed offset", 136);
}

static void an_empty_stream_has_no_entries(void)
{
	uint8_t copy[sizeof(no_frames)];
	struct fault fault;

	CHECK(parse(no_frames, sizeof(no_frames), 0, &fault) == 0);
	refused(no_frames, sizeof(no_frames), 9,
		"chunk index has no entries for the bytes before it", 16);
	for (size_t i = 8; i < 16; i++) {
		memcpy(copy, no_frames, sizeof(copy));
		copy[i] = 1;
		refused(copy, sizeof(copy), 0, "chunk index has data but no entries", 8);
	}
}

static void the_skippable_frame_s_header_is_8_bytes(void)
{
	uint8_t out[8];

	chunk_index_put_skippable(out, 176);
	CHECK(memcmp(out, "\x50\x2a\x4d\x18\xb0\0\0\0", 8) == 0);
	chunk_index_put_skippable(out, 0xfedcba98u);
	CHECK(memcmp(out, "\x50\x2a\x4d\x18\x98\xba\xdc\xfe", 8) == 0);
}

static void any_of_16_magic_numbers_is_skippable(void)
{
	uint8_t in[8] = { 0x50, 0x2a, 0x4d, 0x18, 0xb0, 0, 0, 0 };
	struct fault fault;

	for (unsigned low = 0; low < 256; low++) {
		in[0] = (uint8_t)low;
		CHECK((chunk_index_get_skippable(in, 176, &fault) == 0) == (low >> 4 == 5));
	}
	in[0] = 0x50;
	for (size_t i = 1; i < 4; i++) {
		in[i] ^= 0x10;
		CHECK(chunk_index_get_skippable(in, 176, &fault) == -1);
		CHECK_STR(fault.what, "no skippable zstd frame is there");
		CHECK_U64(fault.offset, 0);
		in[i] ^= 0x10;
	}
}

static void the_skippable_frame_s_length_is_the_payload_s(void)
{
	const uint8_t in[8] = { 0x5f, 0x2a, 0x4d, 0x18, 0xb0, 0, 0, 0 };
	struct fault fault;

	CHECK(chunk_index_get_skippable(in, 0xb0, &fault) == 0);
	CHECK(chunk_index_get_skippable(in, 0xaf, &fault) == -1);
	CHECK_STR(fault.what, "the skippable frame has a wrong length");
	CHECK_U64(fault.offset, 4);
	CHECK(chunk_index_get_skippable(in, 0xb1, &fault) == -1);
	CHECK(chunk_index_get_skippable(in, 0x1000000b0u, &fault) == -1);
	CHECK(chunk_index_get_skippable(in, UINT64_MAX, &fault) == -1);
}

int main(void)
{
	RUN(sizes_follow_from_the_number_of_frames);
	RUN(the_encoder_writes_the_bytes_of_the_draft);
	RUN(a_good_index_is_read_entry_by_entry);
	RUN(every_bit_of_the_header_but_its_size_matters);
	RUN(a_wrong_header_says_where_it_is_wrong);
	RUN(the_number_of_entries_must_be_that_of_the_bytes);
	RUN(bytes_behind_the_last_entry_are_refused);
	RUN(offsets_begin_at_0_and_rise);
	RUN(offsets_just_inside_are_good);
	RUN(the_ends_bound_all_offsets);
	RUN(an_empty_stream_has_no_entries);
	RUN(the_skippable_frame_s_header_is_8_bytes);
	RUN(any_of_16_magic_numbers_is_skippable);
	RUN(the_skippable_frame_s_length_is_the_payload_s);
	return tap_done();
}
