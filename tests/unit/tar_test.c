// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/tar.h"

#include "tests/unit/tap.h"

#define NUM(text) numeric((text), sizeof(text) - 1)

static const int64_t BAD = INT64_MIN;

static int64_t numeric(const char *field, size_t len)
{
	int64_t v;

	return tar_numeric((const uint8_t *)field, len, &v) < 0 ? BAD : v;
}

static struct tar_span span(const char *text)
{
	return (struct tar_span){ text, strlen(text) };
}

static int64_t decimal(const char *text)
{
	int64_t v;

	return tar_decimal(span(text), &v) < 0 ? BAD : v;
}

static void octal_fields_are_padded_with_nuls_and_spaces(void)
{
	CHECK(NUM("0000644\0") == 0644);
	CHECK(NUM("   644 \0") == 0644);
	CHECK(NUM("\0\0 644\0 ") == 0644);
	CHECK(NUM("77777777") == 077777777);
	CHECK(NUM("\0\0\0\0\0\0\0\0") == 0);
	CHECK(NUM("        ") == 0);
}

static void an_octal_number_ends_at_a_nul_but_not_at_a_space(void)
{
	CHECK(NUM("12\0"
		  "345") == 012);
	CHECK(NUM("12\0"
		  "xyz") == 012);
	CHECK(NUM("12 345\0") == BAD);
}

static void fields_with_other_characters_are_refused(void)
{
	CHECK(NUM("0000648\0") == BAD);
	CHECK(NUM("-000001\0") == BAD);
	CHECK(NUM("0x1\0\0\0\0\0") == BAD);
	CHECK(NUM("1_0\0\0\0\0\0") == BAD);
}

static void base_256_fields_may_be_negative(void)
{
	CHECK(NUM("\x80\0\0\0\0\0\0\x07") == 7);
	CHECK(NUM("\xff\xff\xff\xff\xff\xff\xff\xff") == -1);
	CHECK(NUM("\xff\xff\xff\xff\xff\xff\xff\xfe\0\0\0\0") == -(1LL << 33));
	CHECK(NUM("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff") == INT64_MAX);
	CHECK(NUM("\xff\xff\xff\xff\x80\0\0\0\0\0\0\x01") == INT64_MIN + 1);
}

static void base_256_fields_beyond_64_bits_are_refused(void)
{
	CHECK(NUM("\x80\0\0\0\x80\0\0\0\0\0\0\0") == BAD);
	CHECK(NUM("\x80\0\0\x01\0\0\0\0\0\0\0\0") == BAD);
	CHECK(NUM("\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff") == BAD);
}

static void decimal_numbers_have_one_sign_and_nothing_else(void)
{
	CHECK(decimal("0") == 0);
	CHECK(decimal("-0") == 0);
	CHECK(decimal("+0012") == 12);
	CHECK(decimal("-5") == -5);
	CHECK(decimal("9223372036854775807") == INT64_MAX);
	CHECK(decimal("-9223372036854775807") == -INT64_MAX);
	for (const char *const *p = (const char *const[]){ "", "-", "+", "--1", " 1", "1 ", "1_0",
		     "0x1", "1.", "9223372036854775808", "-9223372036854775809",
		     "99999999999999999999999", NULL };
		*p; p++)
		CHECK(decimal(*p) == BAD);
}

static void check_time(const char *text, int64_t want_sec, uint32_t want_nsec)
{
	uint32_t nsec;
	int64_t sec;

	CHECK(pax_time(span(text), &sec, &nsec) == 0);
	CHECK_U64((uint64_t)sec, (uint64_t)want_sec);
	CHECK_U64(nsec, want_nsec);
}

static void times_have_a_fraction_that_is_cut_at_nanoseconds(void)
{
	check_time("1350244992", 1350244992, 0);
	check_time("1350244992.", 1350244992, 0);
	check_time("1350244992.3", 1350244992, 300000000);
	check_time("1350244992.023960108", 1350244992, 23960108);
	check_time("1350244992.0239601089999", 1350244992, 23960108);
}

static void negative_times_count_their_fraction_backwards(void)
{
	check_time("-1", -1, 0);
	check_time("-1.25", -2, 750000000);
	check_time("-0.5", -1, 500000000);
	check_time("-1.000000000", -1, 0);
	check_time("-1.0000000001", -1, 0);
}

static void texts_that_are_no_time_are_refused(void)
{
	uint32_t nsec;
	int64_t sec;

	for (const char *const *p = (const char *const[]){ "", ".", ".5", "-.5", "1.x", "1.5.5",
		     "1.-5", "1. 5", "x", "1e5", NULL };
		*p; p++)
		CHECK(pax_time(span(*p), &sec, &nsec) < 0);
}

/* A ustar header with a name, sealed. */
static void seal(uint8_t *b, bool as_signed)
{
	int sum = 0;

	memset(b + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += as_signed ? (int8_t)b[i] : b[i];
	snprintf((char *)b + 148, 8, "%06o", (unsigned)sum & 0777777);
}

static void make_header(uint8_t *b, const char *name, const char *magic)
{
	memset(b, 0, TAR_BLOCK);
	memcpy(b, name, strlen(name));
	memcpy(b + 100, "0000644", 8);
	memcpy(b + 124, "00000000012", 12);
	b[156] = '0';
	memcpy(b + 257, magic, strlen(magic));
	seal(b, false);
}

static void a_header_is_decoded(void)
{
	struct tar_header h;
	struct fault fault;
	uint8_t b[TAR_BLOCK];

	make_header(b, "name", "ustar");
	memcpy(b + 108, "0000001", 8);
	memcpy(b + 116, "0000002", 8);
	memcpy(b + 136, "00000000003", 12);
	memcpy(b + 157, "target", 6);
	memcpy(b + 329, "0000004", 8);
	memcpy(b + 337, "0000005", 8);
	memcpy(b + 345, "prefix", 6);
	seal(b, false);
	CHECK(tar_header_decode(&h, b, &fault) == 0);
	CHECK(h.format == TAR_USTAR && h.type == TAR_FILE);
	CHECK_STR(h.name, "prefix/name");
	CHECK_STR(h.link, "target");
	CHECK(h.size == 10 && h.mode == 0644 && h.uid == 1 && h.gid == 2 && h.mtime == 3);
	CHECK(h.major == 4 && h.minor == 5);
}

static void the_checksum_may_be_of_signed_bytes(void)
{
	struct tar_header h;
	struct fault fault;
	uint8_t b[TAR_BLOCK];

	make_header(b, "caf\xe9\xff", "ustar");
	CHECK(tar_header_decode(&h, b, &fault) == 0);
	seal(b, true);
	CHECK(tar_header_decode(&h, b, &fault) == 0);
	b[0] ^= 1;
	CHECK(tar_header_decode(&h, b, &fault) < 0);
	CHECK_STR(fault.what, "checksum is wrong");
	CHECK_U64(fault.offset, 148);
}

static void a_checksum_that_is_no_number_is_refused(void)
{
	struct tar_header h;
	struct fault fault;
	uint8_t b[TAR_BLOCK];

	make_header(b, "name", "ustar");
	b[150] = '9';
	CHECK(tar_header_decode(&h, b, &fault) < 0);
	CHECK_STR(fault.what, "checksum is not an octal number");
}

static void full_fields_need_no_nul(void)
{
	struct tar_header h;
	struct fault fault;
	uint8_t b[TAR_BLOCK];

	make_header(b, "", "ustar");
	memset(b, 'n', 100);
	memset(b + 157, 'l', 100);
	memset(b + 345, 'p', 155);
	seal(b, false);
	CHECK(tar_header_decode(&h, b, &fault) == 0);
	CHECK_U64(strlen(h.name), 256);
	CHECK_U64(strlen(h.link), 100);
	CHECK(h.name[154] == 'p' && h.name[155] == '/' && h.name[156] == 'n');
}

static void star_headers_have_a_shorter_prefix_and_times(void)
{
	struct tar_header h;
	struct fault fault;
	uint8_t b[TAR_BLOCK];

	make_header(b, "name", "ustar");
	memset(b + 345, 'p', 155);
	memcpy(b + 508, "tar", 4);
	memcpy(b + 476,
		"00000000001\0"
		"00000000002\0",
		24);
	seal(b, false);
	CHECK(tar_header_decode(&h, b, &fault) == 0);
	CHECK(h.format == TAR_STAR);
	CHECK_U64(strlen(h.name), 131 + 1 + 4);
	b[480] = 'x';
	seal(b, false);
	CHECK(tar_header_decode(&h, b, &fault) < 0);
	CHECK_STR(fault.what, "atime is not a number");
}

static void gnu_headers_have_a_prefix_only_where_there_are_no_times(void)
{
	struct tar_header h;
	struct fault fault;
	uint8_t b[TAR_BLOCK];

	make_header(b, "name", "ustar  ");
	memcpy(b + 345, "00000000001", 12);
	seal(b, false);
	CHECK(tar_header_decode(&h, b, &fault) == 0);
	CHECK(h.format == TAR_GNU);
	CHECK_STR(h.name, "name");
	memcpy(b + 345, "old/prefix\0", 12);
	seal(b, false);
	CHECK(tar_header_decode(&h, b, &fault) == 0);
	CHECK_STR(h.name, "old/prefix/name");
	memcpy(b + 345, "caf\xe9", 5);
	seal(b, false);
	CHECK(tar_header_decode(&h, b, &fault) == 0);
	CHECK_STR(h.name, "name");
}

static void v7_headers_have_no_devices(void)
{
	struct tar_header h;
	struct fault fault;
	uint8_t b[TAR_BLOCK];

	make_header(b, "name", "");
	memcpy(b + 329, "rubbish", 8);
	memcpy(b + 345, "rubbish", 8);
	seal(b, false);
	CHECK(tar_header_decode(&h, b, &fault) == 0);
	CHECK(h.format == TAR_V7 && h.major == 0);
	CHECK_STR(h.name, "name");
	memcpy(b + 257, "ustar", 6);
	seal(b, false);
	CHECK(tar_header_decode(&h, b, &fault) < 0);
	CHECK_STR(fault.what, "device major number is not a number");
	CHECK_U64(fault.offset, 329);
}

static void one_bit_makes_a_block_not_zero(void)
{
	uint8_t b[TAR_BLOCK] = { 0 };

	CHECK(tar_block_is_zero(b));
	b[TAR_BLOCK - 1] = 1;
	CHECK(!tar_block_is_zero(b));
	b[TAR_BLOCK - 1] = 0;
	b[0] = 1;
	CHECK(!tar_block_is_zero(b));
}

static bool record_is(
	const struct pax_record *r, enum pax_key key, const char *name, const char *value)
{
	return r->key == key && r->name.len == strlen(name) && r->value.len == strlen(value) &&
	       memcmp(r->name.p, name, r->name.len) == 0 &&
	       memcmp(r->value.p, value, r->value.len) == 0;
}

static void pax_records_are_split(void)
{
	struct tar_span body = span("9 path=a\n30 mtime=1350244992.023960108\n7 uid=\n"
				    "26 SCHILY.xattr.user.a=b=\n26 GNU.sparse.numblocks=1\n"
				    "13 VENDOR.x=\n");
	struct pax_record r;
	struct fault fault;
	size_t pos = 0;

	CHECK(pax_next(body, &pos, &r, &fault) == 1 && record_is(&r, PAX_PATH, "path", "a"));
	CHECK(pax_next(body, &pos, &r, &fault) == 1);
	CHECK(record_is(&r, PAX_MTIME, "mtime", "1350244992.023960108"));
	CHECK(pax_next(body, &pos, &r, &fault) == 1 && record_is(&r, PAX_UID, "uid", ""));
	CHECK(pax_next(body, &pos, &r, &fault) == 1 && record_is(&r, PAX_XATTR, "user.a", "b="));
	CHECK(pax_next(body, &pos, &r, &fault) == 1 && r.key == PAX_SPARSE_NUMBLOCKS);
	CHECK(pax_next(body, &pos, &r, &fault) == 1);
	CHECK(record_is(&r, PAX_OTHER, "VENDOR.x", ""));
	CHECK(pax_next(body, &pos, &r, &fault) == 0);
	CHECK_U64(pos, body.len);
}

#define PAX_FAULT(text) pax_fault((struct tar_span){ (text), sizeof(text) - 1 })

static const char *pax_fault(struct tar_span body)
{
	struct fault fault = { "(none)" };
	struct pax_record r;
	size_t pos = 0;
	int got;

	while ((got = pax_next(body, &pos, &r, &fault)) > 0)
		;
	return got < 0 ? fault.what : "(none)";
}

static void malformed_pax_records_are_refused(void)
{
	CHECK_STR(PAX_FAULT("5 a=\n"), "(none)");
	CHECK_STR(PAX_FAULT("+5 a=\n"), "PAX record does not end in a newline");
	CHECK_STR(PAX_FAULT("00006 a=\n"), "PAX record has a bad length");
	CHECK_STR(PAX_FAULT("009 a=b\n\n"), "(none)");
	CHECK_STR(PAX_FAULT("4 a=\n"), "PAX record has a bad length");
	CHECK_STR(PAX_FAULT("6 a=\n"), "PAX record has a bad length");
	CHECK_STR(PAX_FAULT("-5 a=\n"), "PAX record has a bad length");
	CHECK_STR(PAX_FAULT("99999999999999999999 a=\n"), "PAX record has a bad length");
	CHECK_STR(PAX_FAULT("5 abc\n"), "PAX record does not end in a newline");
	CHECK_STR(PAX_FAULT("6 abc\n"), "PAX record has no '='");
	CHECK_STR(PAX_FAULT("5 =a\n"), "PAX record has no keyword");
	CHECK_STR(PAX_FAULT("5 a=\n\0"), "PAX record has no length");
	CHECK_STR(PAX_FAULT("5"), "PAX record has no length");
	CHECK_STR(PAX_FAULT("7 a\0b=\n"), "PAX keyword has a NUL byte in it");
	CHECK_STR(PAX_FAULT("11 path=a\0\n"), "PAX record for a name has a NUL byte in it");
	CHECK_STR(PAX_FAULT("12 uname=a\0\n"), "PAX record for a name has a NUL byte in it");
	CHECK_STR(PAX_FAULT("12 other=a\0\n"), "(none)");
}

static void old_gnu_slots_end_at_the_first_empty_one(void)
{
	uint8_t b[TAR_BLOCK] = { 0 };
	struct tar_region r;
	int64_t size;

	memcpy(b + 386,
		"00000001000\0"
		"00000000010\0",
		24);
	memcpy(b + 410,
		"00000002000\0"
		"\0\0\0\0\0\0\0\0\0\0\0\0",
		24);
	memcpy(b + 483, "00000003000", 12);
	b[482] = 1;
	CHECK(tar_sparse_slot(tar_sparse_slots(b), 0, &r) == 1);
	CHECK(r.offset == 01000 && r.length == 010);
	CHECK(tar_sparse_slot(tar_sparse_slots(b), 1, &r) == 1);
	CHECK(r.offset == 02000 && r.length == 0);
	CHECK(tar_sparse_slot(tar_sparse_slots(b), 2, &r) == 0);
	b[434] = 'x';
	CHECK(tar_sparse_slot(tar_sparse_slots(b), 2, &r) < 0);
	CHECK(tar_sparse_continues(b) && !tar_sparse_ext_continues(b));
	CHECK(tar_sparse_real_size(b, &size) == 0 && size == 03000);
}

static void a_map_record_is_numbers_between_commas(void)
{
	struct tar_span map = span("0,-5,7");
	int64_t v;

	CHECK(pax_sparse_map_next(&map, &v) == 1 && v == 0);
	CHECK(pax_sparse_map_next(&map, &v) == 1 && v == -5);
	CHECK(pax_sparse_map_next(&map, &v) == 1 && v == 7);
	CHECK(pax_sparse_map_next(&map, &v) == 0);
	map = span("1,");
	CHECK(pax_sparse_map_next(&map, &v) == 1 && v == 1);
	CHECK(pax_sparse_map_next(&map, &v) < 0);
}

static void a_map_number_may_cross_a_block(void)
{
	struct sparse_text s = { 0 };
	uint8_t a[TAR_BLOCK], b[TAR_BLOCK] = "34\n-2\nx\n";
	size_t pos = 0;
	int64_t v;

	memset(a, '0', sizeof(a));
	memcpy(a + TAR_BLOCK - 3, "\n12", 3);
	CHECK(sparse_text_next(&s, a, &pos, &v) == 1 && v == 0);
	CHECK(sparse_text_next(&s, a, &pos, &v) == 0);
	pos = 0;
	CHECK(sparse_text_next(&s, b, &pos, &v) == 1 && v == 1234);
	CHECK(sparse_text_next(&s, b, &pos, &v) == 1 && v == -2);
	CHECK(sparse_text_next(&s, b, &pos, &v) < 0);
}

static void a_map_line_that_is_no_number_is_refused(void)
{
	static const char *const lines[] = { "\n", "-\n", "+-1\n", "1-\n", " 1\n",
		"9223372036854775808\n", "99999999999999999999999\n" };

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		struct sparse_text s = { 0 };
		uint8_t b[TAR_BLOCK] = { 0 };
		size_t pos = 0;
		int64_t v;

		memcpy(b, lines[i], strlen(lines[i]));
		CHECK(sparse_text_next(&s, b, &pos, &v) < 0);
	}
}

static void regions_are_in_order_and_within_the_file(void)
{
	CHECK(tar_region_fits(&(struct tar_region){ 0, 10 }, 0, 10));
	CHECK(tar_region_fits(&(struct tar_region){ 10, 0 }, 10, 10));
	CHECK(!tar_region_fits(&(struct tar_region){ 0, 11 }, 0, 10));
	CHECK(!tar_region_fits(&(struct tar_region){ 4, 2 }, 5, 10));
	CHECK(!tar_region_fits(&(struct tar_region){ -1, 2 }, 0, 10));
	CHECK(!tar_region_fits(&(struct tar_region){ 1, -1 }, 0, 10));
	CHECK(!tar_region_fits(&(struct tar_region){ INT64_MAX, 1 }, 0, INT64_MAX));
}

int main(void)
{
	RUN(octal_fields_are_padded_with_nuls_and_spaces);
	RUN(an_octal_number_ends_at_a_nul_but_not_at_a_space);
	RUN(fields_with_other_characters_are_refused);
	RUN(base_256_fields_may_be_negative);
	RUN(base_256_fields_beyond_64_bits_are_refused);
	RUN(decimal_numbers_have_one_sign_and_nothing_else);
	RUN(times_have_a_fraction_that_is_cut_at_nanoseconds);
	RUN(negative_times_count_their_fraction_backwards);
	RUN(texts_that_are_no_time_are_refused);
	RUN(a_header_is_decoded);
	RUN(the_checksum_may_be_of_signed_bytes);
	RUN(a_checksum_that_is_no_number_is_refused);
	RUN(full_fields_need_no_nul);
	RUN(star_headers_have_a_shorter_prefix_and_times);
	RUN(gnu_headers_have_a_prefix_only_where_there_are_no_times);
	RUN(v7_headers_have_no_devices);
	RUN(one_bit_makes_a_block_not_zero);
	RUN(pax_records_are_split);
	RUN(malformed_pax_records_are_refused);
	RUN(old_gnu_slots_end_at_the_first_empty_one);
	RUN(a_map_record_is_numbers_between_commas);
	RUN(a_map_number_may_cross_a_block);
	RUN(a_map_line_that_is_no_number_is_refused);
	RUN(regions_are_in_order_and_within_the_file);
	return tap_done();
}
