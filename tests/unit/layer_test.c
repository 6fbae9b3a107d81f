// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The layer parser by its events: each test builds a tar block by block, pushes it in pieces of
 * several sizes, and compares the log of events. What Go makes of tars is compared at large by
 * tests/e2e/tar-differential.test; here is what a reader of the code should find written down.
 */
#include "config.h"

#include "lib/layer/layer.h"

#include "fmt/tar.h"
#include "lib/base/mem.h"
#include "tests/unit/tap.h"

#include <stdarg.h>

/* --- a tar being built --- */

static uint8_t tar[4 << 20];
static size_t tar_len;

static void start(void)
{
	tar_len = 0;
}

static void add(const void *p, size_t len)
{
	memcpy(tar + tar_len, p, len);
	tar_len += len;
}

static void pad(void)
{
	size_t n = -tar_len & (TAR_BLOCK - 1);

	memset(tar + tar_len, 0, n);
	tar_len += n;
}

static void end_marker(void)
{
	memset(tar + tar_len, 0, 2 * TAR_BLOCK);
	tar_len += 2 * TAR_BLOCK;
}

static void seal(uint8_t *b)
{
	unsigned sum = 0;

	memset(b + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += b[i];
	snprintf((char *)b + 148, 8, "%06o", sum);
}

static uint8_t *header(const char *name, char type, uint64_t size)
{
	uint8_t *b = tar + tar_len;

	memset(b, 0, TAR_BLOCK);
	memcpy(b, name, strlen(name));
	memcpy(b + 100, "0100644", 8);
	memcpy(b + 108, "0000001", 8);
	memcpy(b + 116, "0000002", 8);
	snprintf((char *)b + 124, 12, "%011" PRIo64, size);
	memcpy(b + 136, "00000000003", 12);
	b[156] = (uint8_t)type;
	memcpy(b + 257, "ustar\00000", 8);
	seal(b);
	tar_len += TAR_BLOCK;
	return b;
}

static void body(const char *text)
{
	add(text, strlen(text));
	pad();
}

static void file(const char *name, const char *text)
{
	header(name, '0', strlen(text));
	body(text);
}

/* "key=value" or several, each ended by a newline. */
static void pax_of(char type, const char *const *records)
{
	char text[4096];
	size_t n = 0;

	for (; *records; records++) {
		size_t len = strlen(*records) + 2, total = len + 1;

		while (snprintf(NULL, 0, "%zu", total) + len != total)
			total++;
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%zu %s\n", total, *records);
	}
	header("pax", type, n);
	body(text);
}

#define PAX(...)	pax_of('x', (const char *const[]){ __VA_ARGS__, NULL })
#define PAX_GLOBAL(...) pax_of('g', (const char *const[]){ __VA_ARGS__, NULL })

/* --- what the parser says of it --- */

struct log {
	char text[8192];
	size_t len;
	bool data_open; /* the last event was data: more of it goes on the same line */
};

static void __attribute__((format(printf, 2, 3))) note(struct log *l, const char *fmt, ...)
{
	va_list ap;

	if (l->data_open)
		l->len += (size_t)snprintf(l->text + l->len, sizeof(l->text) - l->len, "\n");
	l->data_open = false;
	va_start(ap, fmt);
	l->len += (size_t)vsnprintf(l->text + l->len, sizeof(l->text) - l->len, fmt, ap);
	va_end(ap);
}

static int on_entry(void *arg, const struct entry *e, struct error **err)
{
	static const char kinds[] = { [ENTRY_FILE] = 'f',
		[ENTRY_DIR] = 'd',
		[ENTRY_SYMLINK] = 'l',
		[ENTRY_HARDLINK] = 'h',
		[ENTRY_CHAR] = 'c',
		[ENTRY_BLOCK] = 'b',
		[ENTRY_FIFO] = 'p' };
	struct log *l = arg;

	note(l, "%c %s", kinds[e->type], e->path);
	if (*e->link)
		note(l, " -> %s", e->link);
	note(l, " %o %u:%u %" PRId64 ".%09u %" PRIu64 " @%" PRIu64, e->mode, e->uid, e->gid,
		e->mtime, e->mtime_nsec, e->size, e->header_offset);
	if (e->type == ENTRY_CHAR || e->type == ENTRY_BLOCK)
		note(l, " %u,%u", e->major, e->minor);
	for (size_t i = 0; i < e->n_xattrs; i++)
		note(l, " %s=%.*s", e->xattrs[i].name, (int)e->xattrs[i].value_len,
			(const char *)e->xattrs[i].value);
	if (e->sparse)
		note(l, " sparse");
	for (size_t i = 0; i < e->n_regions; i++)
		note(l, " %" PRIu64 "+%" PRIu64, e->regions[i].offset, e->regions[i].length);
	note(l, "\n");
	return 0;
}

static int on_data(void *arg, const uint8_t *p, size_t len, struct error **err)
{
	struct log *l = arg;

	if (!l->data_open)
		note(l, "data ");
	l->len += (size_t)snprintf(
		l->text + l->len, sizeof(l->text) - l->len, "%.*s", (int)len, (const char *)p);
	l->data_open = true;
	return 0;
}

static int on_hole(void *arg, uint64_t len, struct error **err)
{
	note(arg, "hole %" PRIu64 "\n", len);
	return 0;
}

static int on_file_end(void *arg, struct error **err)
{
	note(arg, "end\n");
	return 0;
}

static const struct layer_events events = { on_entry, on_data, on_hole, on_file_end };

static void parse(struct log *l, size_t piece)
{
	struct layer_parser *p = layer_parser_new(&events, l);
	CLEANUP_ERROR struct error *err = NULL;
	int r = 0;

	*l = (struct log){ 0 };
	for (size_t pos = 0; pos < tar_len && r == 0; pos += piece) {
		size_t n = piece < tar_len - pos ? piece : tar_len - pos;
		CLEANUP_FREE uint8_t *copy = xmemdup(tar + pos, n);

		r = layer_parser_push(p, copy, n, &err);
	}
	if (r == 0)
		r = layer_parser_finish(p, &err);
	if (r < 0)
		note(l, "error: %s\n", err->msg);
	layer_parser_free(p);
}

/* The same events, however the tar is cut. */
static bool check_events(const char *want, int line)
{
	static const size_t pieces[] = { sizeof(tar), 1, 7, 511, 512, 513, 4096 };
	bool ok = true;
	struct log l;

	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		parse(&l, pieces[i]);
		ok &= tap_check_str(l.text, want, __FILE__, line, "events");
	}
	return ok;
}

#define EVENTS(want) check_events((want), __LINE__)

/* --- entries --- */

static void every_type_of_entry_is_told(void)
{
	uint8_t *b;

	start();
	file("file", "abc");
	header("dir/", '5', 0);
	b = header("symlink", '2', 0);
	memcpy(b + 157, "file", 4);
	seal(b);
	b = header("hardlink", '1', 0);
	memcpy(b + 157, "file", 4);
	seal(b);
	b = header("null", '3', 0);
	memcpy(b + 329, "0000001", 8);
	memcpy(b + 337, "0000003", 8);
	seal(b);
	b = header("disk", '4', 0);
	memcpy(b + 329, "\x80\0\0\0\xff\xff\xff\xff", 8);
	seal(b);
	header("fifo", '6', 0);
	header("contiguous", '7', 0);
	end_marker();
	EVENTS("f file 644 1:2 3.000000000 3 @0\ndata abc\nend\n"
	       "d dir/ 644 1:2 3.000000000 0 @1024\n"
	       "l symlink -> file 644 1:2 3.000000000 0 @1536\n"
	       "h hardlink -> file 644 1:2 3.000000000 0 @2048\n"
	       "c null 644 1:2 3.000000000 0 @2560 1,3\n"
	       "b disk 644 1:2 3.000000000 0 @3072 4294967295,0\n"
	       "p fifo 644 1:2 3.000000000 0 @3584\n"
	       "f contiguous 644 1:2 3.000000000 0 @4096\nend\n");
}

static void links_and_directories_have_no_body_whatever_their_size_says(void)
{
	start();
	header("hardlink", '1', 1000);
	header("dir", '5', 5000);
	file("file", "x");
	end_marker();
	EVENTS("h hardlink 644 1:2 3.000000000 0 @0\n"
	       "d dir 644 1:2 3.000000000 0 @512\n"
	       "f file 644 1:2 3.000000000 1 @1024\ndata x\nend\n");
}

static void an_old_file_whose_name_ends_in_a_slash_is_a_directory(void)
{
	start();
	header("dir/", '\0', 1000);
	header("file", '\0', 1);
	body("x");
	PAX("path=pax/");
	header("name", '\0', 0);
	file("odd/", "y");
	end_marker();
	EVENTS("d dir/ 644 1:2 3.000000000 0 @0\n"
	       "f file 644 1:2 3.000000000 1 @512\ndata x\nend\n"
	       "d pax/ 644 1:2 3.000000000 0 @1536\n"
	       "f odd/ 644 1:2 3.000000000 1 @3072\ndata y\nend\n");
}

static void pax_records_override_the_header(void)
{
	start();
	PAX("path=long", "linkpath=target", "size=2", "uid=4294967294", "gid=0", "mtime=-1.25");
	header("short", '0', 1000);
	body("xy");
	file("next", "");
	end_marker();
	EVENTS("f long 644 4294967294:0 -2.750000000 2 @0\ndata xy\nend\n"
	       "f next 644 1:2 3.000000000 0 @2048\nend\n");
}

static void empty_pax_values_keep_what_the_header_says(void)
{
	start();
	PAX("path=", "size=", "uid=", "mtime=");
	file("name", "abc");
	end_marker();
	EVENTS("f name 644 1:2 3.000000000 3 @0\ndata abc\nend\n");
}

static void a_second_pax_header_replaces_the_first(void)
{
	start();
	PAX("path=one", "SCHILY.xattr.user.a=1");
	PAX("uid=7");
	file("name", "");
	end_marker();
	EVENTS("f name 644 7:2 3.000000000 0 @0\nend\n");
}

static void gnu_long_names_are_above_pax_names(void)
{
	start();
	PAX("path=pax", "linkpath=paxlink");
	header("././@LongLink", 'L', 9);
	add("long\0junk", 9);
	pad();
	header("././@LongLink", 'K', 8);
	body("longlink");
	header("name", '2', 0);
	header("name", '0', 0);
	end_marker();
	EVENTS("l long -> longlink 644 1:2 3.000000000 0 @0\n"
	       "f name 644 1:2 3.000000000 0 @3584\nend\n");
}

static void global_headers_have_no_effect_but_end_what_precedes_them(void)
{
	start();
	PAX("path=lost", "SCHILY.xattr.user.a=1");
	PAX_GLOBAL("path=global", "uid=no number");
	file("name", "");
	end_marker();
	EVENTS("f name 644 1:2 3.000000000 0 @2048\nend\n");
}

/* --- extended attributes --- */

static void xattrs_are_sorted_and_the_last_of_a_name_wins(void)
{
	start();
	PAX("SCHILY.xattr.user.b=2", "SCHILY.xattr.user.a=old", "SCHILY.xattr.user.ab=3",
		"SCHILY.xattr.user.a=1=1");
	file("name", "");
	end_marker();
	EVENTS("f name 644 1:2 3.000000000 0 @0 user.a=1=1 user.ab=3 user.b=2\nend\n");
}

static void an_xattr_with_an_empty_value_is_none(void)
{
	start();
	PAX("SCHILY.xattr.user.a=1", "SCHILY.xattr.user.b=", "SCHILY.xattr.user.a=");
	file("name", "");
	end_marker();
	EVENTS("f name 644 1:2 3.000000000 0 @0\nend\n");
}

static void other_vendors_records_are_ignored(void)
{
	start();
	PAX("SCHILY.acl.access=user::rwx", "LIBARCHIVE.xattr.user.a=YQ==", "RHT.security.selinux=x",
		"SCHILY.xattr=1");
	file("name", "");
	end_marker();
	EVENTS("f name 644 1:2 3.000000000 0 @0\nend\n");
}

/* --- sparse files --- */

static void old_gnu_maps_go_on_in_extension_blocks(void)
{
	uint8_t *b;

	start();
	b = header("sparse", 'S', 3);
	memcpy(b + 257, "ustar  ", 8);
	memcpy(b + 386,
		"00000001000\0"
		"00000000001",
		23);
	memcpy(b + 410,
		"00000002000\0"
		"00000000000",
		23);
	b[482] = 1;
	memcpy(b + 483, "00000010000", 11);
	seal(b);
	memset(tar + tar_len, 0, TAR_BLOCK);
	memcpy(tar + tar_len,
		"00000003000\0"
		"00000000002",
		23);
	tar_len += TAR_BLOCK;
	body("abc");
	file("next", "");
	EVENTS("f sparse 644 1:2 3.000000000 4096 @0 sparse 512+1 1536+2\n"
	       "hole 512\ndata a\nhole 1023\ndata bc\nhole 2558\nend\n"
	       "f next 644 1:2 3.000000000 0 @1536\nend\n");
}

static void pax_maps_come_as_pairs_of_records(void)
{
	start();
	PAX("GNU.sparse.size=20", "GNU.sparse.numblocks=2", "GNU.sparse.offset=0",
		"GNU.sparse.numbytes=1", "GNU.sparse.offset=10", "GNU.sparse.numbytes=2");
	file("sparse", "abc");
	EVENTS("f sparse 644 1:2 3.000000000 20 @0 sparse 0+1 10+2\n"
	       "data a\nhole 9\ndata bc\nhole 8\nend\n");
}

static void pax_maps_come_as_one_record(void)
{
	start();
	PAX("GNU.sparse.name=real", "GNU.sparse.realsize=12", "GNU.sparse.numblocks=2",
		"GNU.sparse.map=0,1,10,2");
	file("GNUSparseFile.1/real", "abc");
	EVENTS("f real 644 1:2 3.000000000 12 @0 sparse 0+1 10+2\n"
	       "data a\nhole 9\ndata bc\nend\n");
}

#define PAX_1_0 "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=real"

static void pax_maps_come_before_the_data(void)
{
	start();
	PAX(PAX_1_0, "GNU.sparse.realsize=20");
	header("GNUSparseFile.1/real", '0', TAR_BLOCK + 3);
	body("2\n0\n1\n10\n2\n");
	body("abc");
	file("next", "");
	EVENTS("f real 644 1:2 3.000000000 20 @0 sparse 0+1 10+2\n"
	       "data a\nhole 9\ndata bc\nhole 8\nend\n"
	       "f next 644 1:2 3.000000000 0 @2560\nend\n");
}

static void a_sparse_file_may_be_one_hole_or_empty(void)
{
	start();
	PAX(PAX_1_0, "GNU.sparse.realsize=9223372036854775807");
	header("x", '0', TAR_BLOCK);
	body("0\n");
	PAX(PAX_1_0, "GNU.sparse.realsize=0");
	header("x", '0', TAR_BLOCK);
	body("1\n0\n0\n");
	EVENTS("f real 644 1:2 3.000000000 9223372036854775807 @0 sparse\n"
	       "hole 9223372036854775807\nend\n"
	       "f real 644 1:2 3.000000000 0 @2048 sparse\nend\n");
}

static void unknown_sparse_versions_make_plain_files(void)
{
	start();
	PAX("GNU.sparse.major=2", "GNU.sparse.minor=0", "GNU.sparse.name=real",
		"GNU.sparse.map=0,1");
	file("packed", "abc");
	EVENTS("f packed 644 1:2 3.000000000 3 @0\ndata abc\nend\n");
}

static void maps_that_do_not_fit_are_refused(void)
{
	start();
	PAX("GNU.sparse.size=12", "GNU.sparse.numblocks=1", "GNU.sparse.map=0,2");
	file("f", "abc");
	EVENTS("error: f: tar header at byte 1024: sparse map tells of 2 bytes of data, the tar "
	       "has 3\n");
	start();
	PAX("GNU.sparse.size=12", "GNU.sparse.numblocks=1", "GNU.sparse.map=10,3");
	file("f", "abc");
	EVENTS("error: f: tar header at byte 1024: sparse map has a region that is out of order or "
	       "beyond the file's end\n");
	start();
	PAX("GNU.sparse.numblocks=2", "GNU.sparse.map=0,3");
	file("f", "abc");
	EVENTS("error: f: tar header at byte 1024: sparse map has not as many regions as it "
	       "says\n");
	start();
	PAX(PAX_1_0);
	file("f", "0\n");
	EVENTS("error: real: tar header at byte 1024: sparse map is longer than the file's body\n");
	start();
	PAX(PAX_1_0);
	header("f", '0', 9999);
	body("1000001\n");
	EVENTS("error: real: tar header at byte 1024: sparse map has more than 1000000 regions\n");
	start();
	PAX("GNU.sparse.numblocks=0", "GNU.sparse.major=0", "GNU.sparse.minor=1");
	header("d", '5', 0);
	EVENTS("error: d: tar header at byte 1024: sparse map belongs to an entry that is no "
	       "file\n");
}

/* --- ends --- */

static void a_stream_may_end_without_a_marker(void)
{
	start();
	EVENTS("");
	file("file", "abc");
	EVENTS("f file 644 1:2 3.000000000 3 @0\ndata abc\nend\n");
	tar_len = 515; /* not even padded */
	EVENTS("f file 644 1:2 3.000000000 3 @0\ndata abc\nend\n");
	start();
	file("file", "abc");
	memset(tar + tar_len, 0, TAR_BLOCK);
	tar_len += TAR_BLOCK;
	EVENTS("f file 644 1:2 3.000000000 3 @0\ndata abc\nend\n");
}

static void all_behind_the_marker_is_ignored(void)
{
	start();
	end_marker();
	file("file", "abc");
	body("junk");
	EVENTS("");
}

static void one_zero_block_is_no_marker(void)
{
	start();
	memset(tar, 0, TAR_BLOCK);
	tar_len = TAR_BLOCK;
	file("file", "abc");
	EVENTS("error: tar block at byte 512: something follows a single zero block\n");
}

static void a_stream_that_ends_within_an_entry_is_refused(void)
{
	start();
	file("file", "abc");
	tar_len = 514;
	EVENTS("f file 644 1:2 3.000000000 3 @0\ndata ab\n"
	       "error: file: layer ends at byte 514, in the middle of the file's data\n");
	tar_len = 100;
	EVENTS("error: layer ends at byte 100, in the middle of a tar header\n");
	start();
	PAX("path=x");
	tar_len = 515;
	EVENTS("error: layer ends at byte 515, in the middle of a PAX header\n");
	start();
	PAX(PAX_1_0);
	header("f", '0', 9999);
	memset(tar + tar_len, '0', TAR_BLOCK);
	tar_len += TAR_BLOCK;
	EVENTS("error: real: layer ends at byte 2048, in the middle of a sparse map\n");
	tar_len = 1800;
	EVENTS("error: real: layer ends at byte 1800, in the middle of a sparse map\n");
}

/* --- refusals --- */

static void unknown_types_are_refused(void)
{
	start();
	header("volume", 'V', 0);
	EVENTS("error: volume: tar header at byte 0: entries of type 'V' are not supported\n");
	start();
	header("name", '\1', 0);
	EVENTS("error: name: tar header at byte 0: entries of type 1 are not supported\n");
}

static void a_wrong_checksum_is_refused(void)
{
	start();
	file("file", "");
	header("next", '0', 0)[0] = 'x';
	EVENTS("f file 644 1:2 3.000000000 0 @0\nend\n"
	       "error: tar header at byte 512: checksum is wrong\n");
	start();
	PAX("path=etc/passwd");
	header("next", '0', 0)[0] = 'x';
	EVENTS("error: etc/passwd: tar header at byte 1024: checksum is wrong\n");
}

static void names_must_not_be_empty_nor_have_a_nul(void)
{
	uint8_t *b;

	start();
	header("", '0', 0);
	EVENTS("error: tar header at byte 0: entry has no name\n");
	start();
	b = header("pax", 'x', 79);
	memcpy(tar + tar_len,
		"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n23 GNU.sparse.name=a\0b\n"
		"12 path=abc\n",
		79);
	tar_len += 79;
	pad();
	CHECK(b[156] == 'x');
	header("f", '0', 512);
	EVENTS("error: a: tar header at byte 1024: sparse map gives the file a name with a NUL "
	       "byte in it\n");
}

static void owners_beyond_the_last_that_can_be_stored_are_refused(void)
{
	start();
	PAX("uid=4294967295");
	file("f", "");
	EVENTS("error: f: tar header at byte 1024: uid 4294967295 cannot be stored: 4294967294 is "
	       "the largest\n");
	start();
	PAX("gid=-1");
	file("f", "");
	EVENTS("error: f: tar header at byte 1024: gid -1 cannot be stored: 4294967294 is the "
	       "largest\n");
}

static void sizes_must_not_be_negative(void)
{
	uint8_t *b;

	start();
	PAX("size=1");
	b = header("f", '0', 0);
	memset(b + 124, 0xff, 12);
	seal(b);
	EVENTS("error: f: tar header at byte 1024: size -1 is negative\n");
	start();
	PAX("size=-5");
	header("f", '0', 0);
	EVENTS("error: f: tar header at byte 1024: size -5 is negative\n");
	start();
	PAX("size=9223372036854775808");
	header("f", '0', 0);
	EVENTS("error: f: tar header at byte 1024: PAX size \"9223372036854775808\" is not a "
	       "number\n");
}

static void devices_beyond_32_bits_are_refused(void)
{
	uint8_t *b;

	start();
	b = header("f", '3', 0);
	memcpy(b + 337, "\x80\0\0\x01\0\0\0\0", 8);
	seal(b);
	EVENTS("error: f: tar header at byte 0: device number 0:4294967296 is out of range\n");
	b[156] = '0';
	seal(b);
	EVENTS("f f 644 1:2 3.000000000 0 @0\nend\n");
}

static void names_and_records_beyond_a_mebibyte_are_refused(void)
{
	struct log l;

	start();
	header("f", 'L', (1 << 20) + 1);
	EVENTS("error: tar header at byte 0: long name of 1048577 bytes is longer than 1048576\n");
	start();
	header("f", 'x', 1 << 30);
	EVENTS("error: tar header at byte 0: PAX header of 1073741824 bytes is longer than "
	       "1048576\n");
	start();
	header("f", 'L', 1 << 20);
	memset(tar + tar_len, 'n', 1 << 20);
	tar_len += 1 << 20;
	header("f", 'V', 0);
	parse(&l, 5000);
	CHECK(strncmp(l.text, "error: nnnn", 11) == 0);
}

static void malformed_records_are_refused_with_their_offset(void)
{
	start();
	header("pax", 'x', 18);
	body("9 path=a\n9 path=bb");
	EVENTS("error: tar header at byte 0: PAX record does not end in a newline (record at byte "
	       "521)\n");
}

static void control_bytes_in_names_are_escaped_in_errors(void)
{
	start();
	header("a\033[1m\n", 'V', 0);
	EVENTS("error: a\\033[1m\\012: tar header at byte 0: entries of type 'V' are not "
	       "supported\n");
}

/* --- callbacks --- */

static int refuse_entry(void *arg, const struct entry *e, struct error **err)
{
	return error_set(err, 0, "no more");
}

static void a_callback_ends_the_parse(void)
{
	static const struct layer_events refusing = { refuse_entry, on_data, on_hole, on_file_end };
	struct log l = { 0 };
	struct layer_parser *p = layer_parser_new(&refusing, &l);
	CLEANUP_ERROR struct error *err = NULL;

	start();
	file("file", "abc");
	CHECK(layer_parser_push(p, tar, tar_len, &err) < 0);
	CHECK_STR(err ? err->msg : NULL, "no more");
	CHECK_STR(l.text, "");
	layer_parser_free(p);
}

static const uint8_t *data_at;

static int where_is_data(void *arg, const uint8_t *p, size_t len, struct error **err)
{
	data_at = p;
	return 0;
}

static void data_is_not_copied(void)
{
	static const struct layer_events events_where = { on_entry, where_is_data, on_hole,
		on_file_end };
	struct log l = { 0 };
	struct layer_parser *p = layer_parser_new(&events_where, &l);
	CLEANUP_ERROR struct error *err = NULL;

	start();
	file("file", "abc");
	CHECK(layer_parser_push(p, tar, tar_len, &err) == 0);
	CHECK(data_at == tar + TAR_BLOCK);
	layer_parser_free(p);
}

int main(void)
{
	RUN(every_type_of_entry_is_told);
	RUN(links_and_directories_have_no_body_whatever_their_size_says);
	RUN(an_old_file_whose_name_ends_in_a_slash_is_a_directory);
	RUN(pax_records_override_the_header);
	RUN(empty_pax_values_keep_what_the_header_says);
	RUN(a_second_pax_header_replaces_the_first);
	RUN(gnu_long_names_are_above_pax_names);
	RUN(global_headers_have_no_effect_but_end_what_precedes_them);
	RUN(xattrs_are_sorted_and_the_last_of_a_name_wins);
	RUN(an_xattr_with_an_empty_value_is_none);
	RUN(other_vendors_records_are_ignored);
	RUN(old_gnu_maps_go_on_in_extension_blocks);
	RUN(pax_maps_come_as_pairs_of_records);
	RUN(pax_maps_come_as_one_record);
	RUN(pax_maps_come_before_the_data);
	RUN(a_sparse_file_may_be_one_hole_or_empty);
	RUN(unknown_sparse_versions_make_plain_files);
	RUN(maps_that_do_not_fit_are_refused);
	RUN(a_stream_may_end_without_a_marker);
	RUN(all_behind_the_marker_is_ignored);
	RUN(one_zero_block_is_no_marker);
	RUN(a_stream_that_ends_within_an_entry_is_refused);
	RUN(unknown_types_are_refused);
	RUN(a_wrong_checksum_is_refused);
	RUN(names_must_not_be_empty_nor_have_a_nul);
	RUN(owners_beyond_the_last_that_can_be_stored_are_refused);
	RUN(sizes_must_not_be_negative);
	RUN(devices_beyond_32_bits_are_refused);
	RUN(names_and_records_beyond_a_mebibyte_are_refused);
	RUN(malformed_records_are_refused_with_their_offset);
	RUN(control_bytes_in_names_are_escaped_in_errors);
	RUN(a_callback_ends_the_parse);
	RUN(data_is_not_copied);
	return tap_done();
}
