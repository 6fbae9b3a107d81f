// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Everything is written twice, by the same functions: first into nowhere, to measure it.
 */
#include "config.h"

#include "fmt/tar_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fmt/tar.h"
#include "fmt/tar_fields.h"

enum {
	LEN_NAME = 100,
	LEN_PREFIX = 155,
	LEN_ID = 8,
	LEN_TIME = 12,
};

#define MAX_ID	 UINT64_C(07777777) /* what an octal field holds, with the NUL that ends it */
#define MAX_TIME UINT64_C(077777777777)

/* Bytes on their way; p NULL: they are only counted. */
struct sink {
	uint8_t *p;
	size_t n;
};

static void put(struct sink *s, const void *bytes, size_t len)
{
	if (s->p)
		memcpy(s->p + s->n, bytes, len);
	s->n += len;
}

static void put_text(struct sink *s, const char *text)
{
	put(s, text, strlen(text));
}

static void pad(struct sink *s)
{
	static const uint8_t zeros[TAR_BLOCK];

	put(s, zeros, tar_padding(s->n));
}

static void put_number(struct sink *s, uint64_t v)
{
	char text[24];

	put(s, text, (size_t)snprintf(text, sizeof(text), "%" PRIu64, v));
}

/* The length counts its own digits, too. */
static size_t record_size(size_t name, size_t value)
{
	size_t rest = name + value + 3, digits = 1; /* a blank, '=', a newline */

	for (size_t limit = 10; rest + digits >= limit; limit *= 10)
		digits++;
	return rest + digits;
}

static void put_record(
	struct sink *s, const char *prefix, const char *name, const void *value, size_t len)
{
	put_number(s, record_size(strlen(prefix) + strlen(name), len));
	put_text(s, " ");
	put_text(s, prefix);
	put_text(s, name);
	put_text(s, "=");
	put(s, value, len);
	put_text(s, "\n");
}

static void put_text_record(struct sink *s, const char *name, const char *value)
{
	put_record(s, "", name, value, strlen(value));
}

static void put_number_record(struct sink *s, const char *name, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, v);
	put_text_record(s, name, text);
}

/* Seconds with the digits of a fraction that matter: the second before 1970 and 1/4 is -0.75. */
static void put_mtime_record(struct sink *s, const struct entry *e)
{
	bool negative = e->mtime < 0;
	uint64_t sec = negative ? -(uint64_t)e->mtime : (uint64_t)e->mtime;
	uint32_t nsec = e->mtime_nsec;
	char text[40];
	size_t n;

	if (negative && nsec) {
		sec--;
		nsec = 1000000000 - nsec;
	}
	n = (size_t)snprintf(text, sizeof(text), "%s%" PRIu64, negative ? "-" : "", sec);
	if (nsec) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, ".%09" PRIu32, nsec);
		while (text[n - 1] == '0')
			text[--n] = '\0';
	}
	put_text_record(s, "mtime", text);
}

/* How the path is told: in one field, in two with a slash between, or by a record. */
struct name {
	size_t prefix; /* bytes of the prefix field */
	const char *base; /* the name field, */
	size_t base_len; /* at most LEN_NAME */
	bool record;
};

static struct name place_name(const char *path)
{
	size_t len = strlen(path);

	if (len <= LEN_NAME)
		return (struct name){ .base = path, .base_len = len };
	for (size_t i = len - 1 < LEN_PREFIX + 1 ? len - 1 : LEN_PREFIX + 1; i-- > 1;)
		if (path[i] == '/' && len - i - 1 <= LEN_NAME)
			return (struct name){ i, path + i + 1, len - i - 1, false };
	return (struct name){ .base = path, .base_len = LEN_NAME, .record = true };
}

/* As GNU tar does: who knows nothing of the format extracts it under another name. */
static void sparse_name(char out[static LEN_NAME + 1], const char *path)
{
	const char *slash = strrchr(path, '/');

	snprintf(out, LEN_NAME + 1, "GNUSparseFile.0/%.84s", slash ? slash + 1 : path);
}

/* Length of the UTF-8 character at p, shortest form, no surrogates; 0 when it is none. */
static size_t utf8_len(const uint8_t *p)
{
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4 || (p[1] & 0xc0) != 0x80)
		return 0;
	if (p[0] < 0xe0)
		return 2;
	if ((p[2] & 0xc0) != 0x80 || (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f))
		return 0;
	if (p[0] < 0xf0)
		return 3;
	if ((p[3] & 0xc0) != 0x80 || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return 4;
}

static bool is_utf8(const char *text)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t n;

	for (; *p; p += n)
		if (!(n = utf8_len(p)))
			return false;
	return true;
}

static bool is_sparse(const struct entry *e)
{
	return e->type == ENTRY_FILE && e->sparse;
}

static bool long_link(const struct entry *e)
{
	return strlen(e->link) > TAR_LINK_MAX;
}

/* POSIX wants UTF-8 in records unless one says otherwise; libarchive and pax insist. */
static void put_name_records(struct sink *s, const struct entry *e)
{
	bool path = is_sparse(e) || place_name(e->path).record;
	bool link = long_link(e);

	if ((path && !is_utf8(e->path)) || (link && !is_utf8(e->link)))
		put_text_record(s, "hdrcharset", "BINARY");
	if (is_sparse(e)) {
		put_text_record(s, "GNU.sparse.major", "1");
		put_text_record(s, "GNU.sparse.minor", "0");
		put_text_record(s, "GNU.sparse.name", e->path);
		put_number_record(s, "GNU.sparse.realsize", e->size);
	} else if (path) {
		put_text_record(s, "path", e->path);
	}
	if (link)
		put_text_record(s, "linkpath", e->link);
}

static void put_records(struct sink *s, const struct entry *e, uint64_t size)
{
	put_name_records(s, e);
	if (size > MAX_TIME)
		put_number_record(s, "size", size);
	if (e->uid > MAX_ID)
		put_number_record(s, "uid", e->uid);
	if (e->gid > MAX_ID)
		put_number_record(s, "gid", e->gid);
	if (e->mtime_nsec || e->mtime < 0 || (uint64_t)e->mtime > MAX_TIME)
		put_mtime_record(s, e);
	for (size_t i = 0; i < e->n_xattrs; i++)
		put_record(s, "SCHILY.xattr.", e->xattrs[i].name, e->xattrs[i].value,
			e->xattrs[i].value_len);
}

/* What does not fit stands in a record, which wins; then the field is 0, as Go writes it. */
static void octal(uint8_t *field, size_t len, uint64_t v, uint64_t max)
{
	char text[24];

	snprintf(text, sizeof(text), "%0*" PRIo64, (int)len - 1, v <= max ? v : 0);
	memcpy(field, text, len);
}

static void seal(uint8_t *block)
{
	unsigned sum = 0;
	char text[16];

	memset(block + AT_CHECKSUM, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += block[i];
	snprintf(text, sizeof(text), "%06o", sum);
	memcpy(block + AT_CHECKSUM, text, 7); /* six digits, a NUL; the blank stays */
}

static void put_header(struct sink *s, uint8_t *block)
{
	memcpy(block + AT_MAGIC,
		"ustar\0"
		"00",
		8);
	seal(block);
	put(s, block, TAR_BLOCK);
}

static uint8_t type_of(enum entry_type type)
{
	static const uint8_t types[] = {
		[ENTRY_FILE] = TAR_FILE,
		[ENTRY_DIR] = TAR_DIR,
		[ENTRY_SYMLINK] = TAR_SYMLINK,
		[ENTRY_HARDLINK] = TAR_HARDLINK,
		[ENTRY_CHAR] = TAR_CHAR,
		[ENTRY_BLOCK] = TAR_BLOCK_DEVICE,
		[ENTRY_FIFO] = TAR_FIFO,
	};

	return types[type];
}

static void put_main_header(struct sink *s, const struct entry *e, uint64_t size)
{
	struct name name = place_name(e->path);
	size_t link = strlen(e->link);
	uint8_t block[TAR_BLOCK] = { 0 };
	char sparse[LEN_NAME + 1];

	if (is_sparse(e)) {
		sparse_name(sparse, e->path);
		name = (struct name){ .base = sparse, .base_len = strlen(sparse) };
	}
	memcpy(block + AT_NAME, name.base, name.base_len);
	memcpy(block + AT_PREFIX, e->path, name.prefix);
	memcpy(block + AT_LINK, e->link, link < TAR_LINK_MAX ? link : TAR_LINK_MAX);
	octal(block + AT_MODE, LEN_ID, e->mode, MAX_ID);
	octal(block + AT_UID, LEN_ID, e->uid, MAX_ID);
	octal(block + AT_GID, LEN_ID, e->gid, MAX_ID);
	octal(block + AT_SIZE, LEN_TIME, size, MAX_TIME);
	octal(block + AT_MTIME, LEN_TIME, e->mtime < 0 ? 0 : (uint64_t)e->mtime, MAX_TIME);
	octal(block + AT_MAJOR, LEN_ID, e->major, MAX_ID);
	octal(block + AT_MINOR, LEN_ID, e->minor, MAX_ID);
	block[AT_TYPE] = type_of(e->type);
	put_header(s, block);
}

static void put_pax(struct sink *s, const struct entry *e, uint64_t size, size_t records)
{
	static const char name[] = "././@PaxHeader"; /* as Python's tarfile calls it */
	uint8_t block[TAR_BLOCK] = { 0 };

	memcpy(block + AT_NAME, name, sizeof(name) - 1);
	octal(block + AT_MODE, LEN_ID, 0644, MAX_ID);
	octal(block + AT_UID, LEN_ID, 0, MAX_ID);
	octal(block + AT_GID, LEN_ID, 0, MAX_ID);
	octal(block + AT_SIZE, LEN_TIME, records, MAX_TIME);
	octal(block + AT_MTIME, LEN_TIME, 0, MAX_TIME);
	octal(block + AT_MAJOR, LEN_ID, 0, MAX_ID);
	octal(block + AT_MINOR, LEN_ID, 0, MAX_ID);
	block[AT_TYPE] = TAR_PAX;
	put_header(s, block);
	put_records(s, e, size);
	pad(s);
}

/* A file that ends in a hole ends its map with an empty region there: GNU tar takes the size. */
static bool ends_in_hole(const struct entry *e)
{
	const struct entry_region *last;

	if (!e->n_regions)
		return true;
	last = &e->regions[e->n_regions - 1];
	return last->offset + last->length < e->size;
}

static void put_line(struct sink *s, uint64_t v)
{
	put_number(s, v);
	put_text(s, "\n");
}

static void put_map(struct sink *s, const struct entry *e)
{
	put_line(s, e->n_regions + ends_in_hole(e));
	for (size_t i = 0; i < e->n_regions; i++) {
		put_line(s, e->regions[i].offset);
		put_line(s, e->regions[i].length);
	}
	if (ends_in_hole(e)) {
		put_line(s, e->size);
		put_line(s, 0);
	}
	pad(s);
}

/* Of the body that the header tells: a sparse file's map is a part of it. */
static uint64_t body_size(const struct entry *e)
{
	struct sink map = { 0 };
	uint64_t size;

	if (e->type != ENTRY_FILE)
		return 0;
	if (!e->sparse)
		return e->size;
	put_map(&map, e);
	size = map.n;
	for (size_t i = 0; i < e->n_regions; i++)
		size += e->regions[i].length;
	return size;
}

static struct tar_head put_head(struct sink *s, const struct entry *e)
{
	uint64_t size = body_size(e);
	struct sink records = { 0 };

	put_records(&records, e, size);
	if (records.n)
		put_pax(s, e, size, records.n);
	put_main_header(s, e, size);
	if (is_sparse(e))
		put_map(s, e);
	return (struct tar_head){ s->n, records.n };
}

struct tar_head tar_head_measure(const struct entry *e)
{
	struct sink s = { 0 };

	return put_head(&s, e);
}

void tar_head_encode(uint8_t *p, const struct entry *e)
{
	struct sink s = { .p = p };

	put_head(&s, e);
}
