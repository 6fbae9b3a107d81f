// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* What is written is read again by the layer parser, whose reading is Go's. */
#include "config.h"

#include "fmt/tar_write.h"

#include "fmt/tar.h"
#include "lib/base/mem.h"
#include "lib/layer/layer.h"
#include "tests/unit/tap.h"

#define FILE_AT(name, ...) \
	((struct entry){ .type = ENTRY_FILE, .path = (name), .link = "", __VA_ARGS__ })
#define FILE_ENTRY(...) FILE_AT("f", __VA_ARGS__)

/* What has been read, against what was written. */
struct seen {
	const struct entry *want;
	unsigned entries;
	uint64_t data, holes;
};

static int see_entry(void *arg, const struct entry *e, struct error **err)
{
	struct seen *s = arg;
	const struct entry *w = s->want;

	(void)err;
	s->entries++;
	CHECK_U64(e->type, w->type);
	CHECK_STR(e->path, w->path);
	CHECK_STR(e->link, w->link);
	CHECK_U64(e->size, w->type == ENTRY_FILE ? w->size : 0);
	CHECK_U64(e->mode, w->mode);
	CHECK_U64(e->uid, w->uid);
	CHECK_U64(e->gid, w->gid);
	CHECK_U64(e->major, w->major);
	CHECK_U64(e->minor, w->minor);
	CHECK_U64((uint64_t)e->mtime, (uint64_t)w->mtime);
	CHECK_U64(e->mtime_nsec, w->mtime_nsec);
	CHECK_U64(e->n_xattrs, w->n_xattrs);
	for (size_t i = 0; i < e->n_xattrs && i < w->n_xattrs; i++) {
		CHECK_STR(e->xattrs[i].name, w->xattrs[i].name);
		CHECK_U64(e->xattrs[i].value_len, w->xattrs[i].value_len);
		CHECK(memcmp(e->xattrs[i].value, w->xattrs[i].value, w->xattrs[i].value_len) == 0);
	}
	CHECK(e->sparse == w->sparse);
	CHECK_U64(e->n_regions, w->n_regions);
	for (size_t i = 0; i < e->n_regions && i < w->n_regions; i++) {
		CHECK_U64(e->regions[i].offset, w->regions[i].offset);
		CHECK_U64(e->regions[i].length, w->regions[i].length);
	}
	return 0;
}

static int see_data(void *arg, const uint8_t *p, size_t len, struct error **err)
{
	(void)p;
	(void)err;
	((struct seen *)arg)->data += len;
	return 0;
}

static int see_hole(void *arg, uint64_t len, struct error **err)
{
	(void)err;
	((struct seen *)arg)->holes += len;
	return 0;
}

static int see_end(void *arg, struct error **err)
{
	(void)arg;
	(void)err;
	return 0;
}

static uint64_t data_of(const struct entry *e)
{
	uint64_t n = 0;

	if (e->type != ENTRY_FILE || !e->sparse)
		return e->type == ENTRY_FILE ? e->size : 0;
	for (size_t i = 0; i < e->n_regions; i++)
		n += e->regions[i].length;
	return n;
}

/* Write it, with zeros for data if there are few, and read it. */
static struct tar_head round_trip(const struct entry *e)
{
	static const struct layer_events events = { see_entry, see_data, see_hole, see_end };
	struct seen seen = { .want = e };
	struct tar_head head = tar_head_measure(e);
	uint64_t data = data_of(e), body = data + tar_padding(data);
	bool whole = body < 1 << 20;
	size_t size = head.size + (whole ? body + TAR_WRITE_END : 0);
	CLEANUP_FREE uint8_t *tar = xzalloc(size);
	struct layer_parser *p = layer_parser_new(&events, &seen);
	struct error *err = NULL;

	CHECK(head.size % TAR_BLOCK == 0);
	tar_head_encode(tar, e);
	CHECK(layer_parser_push(p, tar, size, &err) == 0);
	if (whole)
		CHECK(layer_parser_finish(p, &err) == 0);
	CHECK_STR(err ? err->msg : "", "");
	error_free(err);
	layer_parser_free(p);
	CHECK_U64(seen.entries, 1);
	if (whole) {
		CHECK_U64(seen.data, data);
		CHECK_U64(seen.data + seen.holes, e->type == ENTRY_FILE ? e->size : 0);
	}
	return head;
}

static void what_fits_is_one_plain_header(void)
{
	const struct entry e = FILE_AT("etc/passwd", .mode = 04755, .uid = 07777777, .gid = 1,
		.mtime = 077777777777, .size = 5);
	uint8_t block[TAR_BLOCK];
	struct tar_head head = round_trip(&e);

	CHECK_U64(head.size, TAR_BLOCK);
	CHECK_U64(head.pax_size, 0);
	tar_head_encode(block, &e);
	CHECK_STR((char *)block, "etc/passwd");
	CHECK_STR((char *)block + 100, "0004755");
	CHECK_STR((char *)block + 108, "7777777");
	CHECK_STR((char *)block + 124, "00000000005");
	CHECK_STR((char *)block + 136, "77777777777");
	CHECK(memcmp(block + 257,
		      "ustar\0"
		      "00",
		      8) == 0);
	CHECK_STR((char *)block + 265, ""); /* no user's name, */
	CHECK_STR((char *)block + 297, ""); /* no group's */
}

static void every_type_comes_back(void)
{
	static const struct entry all[] = {
		{ .type = ENTRY_DIR, .path = "./", .link = "", .mode = 0755 },
		{ .type = ENTRY_DIR, .path = "d/", .link = "", .mode = 01777 },
		{ .type = ENTRY_SYMLINK, .path = "s", .link = "../t", .mode = 0777 },
		{ .type = ENTRY_HARDLINK, .path = "h", .link = "d/f", .mode = 0644 },
		{ .type = ENTRY_CHAR, .path = "c", .link = "", .major = 4095, .minor = 1048575 },
		{ .type = ENTRY_BLOCK, .path = "b", .link = "", .major = 8, .minor = 1 },
		{ .type = ENTRY_FIFO, .path = "p", .link = "", .mode = 07777 },
		{ .type = ENTRY_FILE, .path = "f", .link = "", .mode = 0, .size = 513 },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		CHECK_U64(round_trip(&all[i]).size, TAR_BLOCK);
}

/* A path of `len` bytes whose names have `name` bytes each. */
static char *path_of(size_t len, size_t name, char end)
{
	char *path = xzalloc(len + 1);

	for (size_t i = 0; i < len; i++)
		path[i] = i % (name + 1) == name ? '/' : 'a';
	path[len - 1] = end;
	return path;
}

static void paths_of_any_length_come_back(void)
{
	static const size_t names[] = { 1, 10, 99, 100, 101, 155, 254, 255 };

	for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++)
		for (size_t len = 1; len < 600; len++) {
			CLEANUP_FREE char *file = path_of(len, names[n], 'z');
			CLEANUP_FREE char *dir = path_of(len, names[n], '/');
			struct entry e = FILE_AT(file, .size = 0);

			round_trip(&e);
			e = (struct entry){ .type = ENTRY_DIR, .path = dir, .link = "" };
			round_trip(&e);
		}
}

static void long_paths_need_a_record_only_where_two_fields_do_not_do(void)
{
	CLEANUP_FREE char *fits = path_of(256, 155, 'z'), *name = path_of(101, 200, 'z');
	CLEANUP_FREE char *beyond = path_of(257, 155, 'z');

	CHECK_U64(round_trip(&FILE_AT(fits, .size = 0)).pax_size, 0);
	CHECK(round_trip(&FILE_AT(name, .size = 0)).pax_size > 0);
	CHECK(round_trip(&FILE_AT(beyond, .size = 0)).pax_size > 0);
}

static void links_of_any_length_come_back(void)
{
	for (size_t len = 1; len < 4096; len = len < 110 ? len + 1 : len * 2 - 1) {
		CLEANUP_FREE char *target = path_of(len, 50, 'z');
		struct entry e = { .type = ENTRY_SYMLINK, .path = "s", .link = target };

		CHECK(round_trip(&e).pax_size ? len > 100 : len <= 100);
		e.type = ENTRY_HARDLINK;
		round_trip(&e);
	}
}

static void names_of_any_bytes_come_back_and_say_so_where_readers_expect_utf8(void)
{
	char bytes[256], utf8[400] = "";
	struct tar_head plain, marked;

	for (int i = 1; i < 256; i++)
		bytes[i - 1] = i == '/' ? 'x' : (char)i;
	bytes[255] = '\0';
	marked = round_trip(&FILE_AT(bytes, .size = 0));
	for (int i = 0; i < 85; i++)
		strcat(utf8, i % 3 ? "\xe2\x82\xac" : "\xc3\xa4");
	utf8[255] = '\0';
	plain = round_trip(&FILE_AT(utf8, .size = 0));
	CHECK(plain.pax_size && plain.pax_size < 280);
	CHECK_U64(marked.pax_size, strlen("264 path=\n") + 255 + strlen("21 hdrcharset=BINARY\n"));
}

static void numbers_beyond_the_fields_come_back(void)
{
	static const struct entry all[] = {
		FILE_ENTRY(.uid = 010000000),
		FILE_ENTRY(.gid = 010000000),
		FILE_ENTRY(.uid = UINT32_MAX - 1, .gid = UINT32_MAX - 1),
		FILE_ENTRY(.size = 1ULL << 33),
		FILE_ENTRY(.size = INT64_MAX),
		FILE_ENTRY(.mtime = 0100000000000),
		FILE_ENTRY(.mtime = INT64_MAX),
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		CHECK(round_trip(&all[i]).pax_size > 0);
	CHECK_U64(round_trip(&FILE_ENTRY(.size = (1ULL << 33) - 1)).pax_size, 0);
}

static void times_come_back_to_the_nanosecond(void)
{
	static const int64_t seconds[] = { 0, 1, -1, -2, 1234567890, -1234567890, 1LL << 40,
		-(1LL << 40), INT64_MIN + 2 };
	static const uint32_t parts[] = { 0, 1, 10, 250000000, 999999999 };

	for (size_t i = 0; i < sizeof(seconds) / sizeof(*seconds); i++)
		for (size_t k = 0; k < sizeof(parts) / sizeof(*parts); k++)
			round_trip(&FILE_ENTRY(.mtime = seconds[i], .mtime_nsec = parts[k]));
}

static void xattrs_of_any_bytes_come_back(void)
{
	uint8_t all[256];
	CLEANUP_FREE uint8_t *large = xzalloc(65535);
	const struct entry_xattr xattrs[] = {
		{ "security.capability", "\1\0\0\2\n=", 6 },
		{ "trusted.all", all, sizeof(all) },
		{ "user.a b\nc", large, 65535 },
	};

	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	round_trip(&FILE_ENTRY(.xattrs = xattrs, .n_xattrs = 3));
	/* lengths around each power of ten, where the count of digits counts */
	for (size_t len = 1; len < 1100; len++)
		round_trip(&FILE_ENTRY(.xattrs = &(struct entry_xattr){ "user.x", large, len },
			.n_xattrs = 1));
}

static void sparse_files_come_back(void)
{
	static const struct entry_region regions[] = { { 0, 4096 }, { 1 << 20, 1 },
		{ 1LL << 40, 8192 } };
	CLEANUP_FREE char *path = path_of(300, 20, 'z');
	struct entry e = FILE_ENTRY(.sparse = true, .regions = regions, .n_regions = 3,
		.size = (1LL << 40) + 8192);

	round_trip(&e);
	e.path = path;
	e.size = 1LL << 41;
	round_trip(&e);
	e.n_regions = 0;
	round_trip(&e);
	e.n_regions = 1;
	e.size = 4096;
	round_trip(&e);
}

static void sparse_maps_of_many_blocks_come_back(void)
{
	struct entry_region regions[1000];
	struct entry e = FILE_ENTRY(.sparse = true, .regions = regions, .size = 1000ULL << 30);

	for (size_t n = 0; n < 1000; n++)
		regions[n] = (struct entry_region){ (uint64_t)n << 30, 512 };
	for (e.n_regions = 1; e.n_regions <= 1000; e.n_regions += 37)
		round_trip(&e);
}

/* For a file whose blocks alone are beyond 8 GiB, map and data count together. */
static void a_sparse_file_with_much_data_comes_back(void)
{
	static const struct entry_region region = { 1 << 20, (1ULL << 33) - 512 };

	CHECK(round_trip(&FILE_ENTRY(.sparse = true, .regions = &region, .n_regions = 1,
				 .size = 1ULL << 34))
			.pax_size > 0);
}

int main(void)
{
	RUN(what_fits_is_one_plain_header);
	RUN(every_type_comes_back);
	RUN(paths_of_any_length_come_back);
	RUN(long_paths_need_a_record_only_where_two_fields_do_not_do);
	RUN(links_of_any_length_come_back);
	RUN(names_of_any_bytes_come_back_and_say_so_where_readers_expect_utf8);
	RUN(numbers_beyond_the_fields_come_back);
	RUN(times_come_back_to_the_nanosecond);
	RUN(xattrs_of_any_bytes_come_back);
	RUN(sparse_files_come_back);
	RUN(sparse_maps_of_many_blocks_come_back);
	RUN(a_sparse_file_with_much_data_comes_back);
	return tap_done();
}
