// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/tar.h"
#include "fmt/tar_fields.h"

#include <string.h>

static int refuse(struct fault *fault, const char *what, uint64_t offset)
{
	*fault = (struct fault){ what, offset };
	return -1;
}

/* Fields beyond those that every format has, and lengths. */
enum {
	AT_GNU_ATIME = 345,
	AT_GNU_CTIME = 357,
	AT_STAR_ATIME = 476,
	AT_STAR_CTIME = 488,
	AT_STAR_TRAILER = 508,

	LEN_NAME = 100,
	LEN_ID = 8,
	LEN_TIME = 12,
	LEN_CHECKSUM = 8,
	LEN_PREFIX = 155,
	LEN_STAR_PREFIX = 131,
};

/*
 * The sum of all bytes and, since Sun's tar added them as signed ones, the number of those that
 * would be negative. Bytes are added in four lanes of 16 bits: 64 words of at most 2 * 255 fit.
 */
static unsigned sum_of_block(const uint8_t *block, unsigned *n_high)
{
	const uint64_t low_bytes = 0x00ff00ff00ff00ff;
	uint64_t lanes = 0, word;
	unsigned high = 0;

	for (size_t i = 0; i < TAR_BLOCK; i += sizeof(word)) {
		memcpy(&word, block + i, sizeof(word));
		lanes += (word & low_bytes) + (word >> 8 & low_bytes);
		high += (unsigned)__builtin_popcountll(word & 0x8080808080808080);
	}
	*n_high = high;
	return (lanes & 0xffff) + (lanes >> 16 & 0xffff) + (lanes >> 32 & 0xffff) + (lanes >> 48);
}

bool tar_block_is_zero(const uint8_t block[static TAR_BLOCK])
{
	return block[0] == 0 && memcmp(block, block + 1, TAR_BLOCK - 1) == 0;
}

/* NULs and spaces around the digits are padding; a NUL among them ends the number. */
static int octal(const uint8_t *field, size_t len, int64_t *value)
{
	uint64_t v = 0;

	while (len && (*field == ' ' || *field == 0))
		field++, len--;
	while (len && (field[len - 1] == ' ' || field[len - 1] == 0))
		len--;
	for (size_t i = 0; i < len && field[i]; i++) {
		if (field[i] < '0' || field[i] > '7' || v >> 61)
			return -1;
		v = v << 3 | (field[i] - '0');
	}
	*value = (int64_t)v;
	return 0;
}

/* Two's complement, most significant byte first; the first bit only marks the encoding. */
static int base256(const uint8_t *field, size_t len, int64_t *value)
{
	uint8_t sign = field[0] & 0x40 ? 0xff : 0;
	uint64_t v = (field[0] ^ sign) & 0x7f;

	for (size_t i = 1; i < len; i++) {
		if (v >> 56)
			return -1;
		v = v << 8 | (field[i] ^ sign);
	}
	if (v >> 63)
		return -1;
	*value = sign ? -1 - (int64_t)v : (int64_t)v;
	return 0;
}

int tar_numeric(const uint8_t *field, size_t len, int64_t *value)
{
	if (len && field[0] & 0x80)
		return base256(field, len, value);
	return octal(field, len, value);
}

/* Copy a field that ends at its first NUL or, without one, at its own end. */
static size_t copy_text(char *dst, const uint8_t *field, size_t len)
{
	size_t n = strnlen((const char *)field, len);

	memcpy(dst, field, n);
	dst[n] = 0;
	return n;
}

/* Not above 0x7f, up to the first NUL. */
static bool is_ascii(const uint8_t *field, size_t len)
{
	for (size_t i = 0; i < len && field[i]; i++)
		if (field[i] >= 0x80)
			return false;
	return true;
}

static int verify_checksum(const uint8_t *block, struct fault *fault)
{
	unsigned n_high, sum = sum_of_block(block, &n_high);
	int64_t stored;

	/* The field itself counts as eight spaces. */
	for (size_t i = AT_CHECKSUM; i < AT_CHECKSUM + LEN_CHECKSUM; i++) {
		sum += ' ' - (unsigned)block[i];
		n_high -= block[i] >> 7;
	}
	if (octal(block + AT_CHECKSUM, LEN_CHECKSUM, &stored) < 0)
		return refuse(fault, "checksum is not an octal number", AT_CHECKSUM);
	if (stored != sum && stored != (int64_t)sum - 256 * (int64_t)n_high)
		return refuse(fault, "checksum is wrong", AT_CHECKSUM);
	return 0;
}

static enum tar_format format_of(const uint8_t *block)
{
	const uint8_t *magic = block + AT_MAGIC;

	if (memcmp(magic, "ustar", 6) == 0)
		return memcmp(block + AT_STAR_TRAILER, "tar", 4) == 0 ? TAR_STAR : TAR_USTAR;
	return memcmp(magic, "ustar  ", 8) == 0 ? TAR_GNU : TAR_V7;
}

static int decode_numbers(struct tar_header *h, const uint8_t *block, struct fault *fault)
{
	if (tar_numeric(block + AT_SIZE, LEN_TIME, &h->size) < 0)
		return refuse(fault, "size is not a number", AT_SIZE);
	if (tar_numeric(block + AT_MODE, LEN_ID, &h->mode) < 0)
		return refuse(fault, "mode is not a number", AT_MODE);
	if (tar_numeric(block + AT_UID, LEN_ID, &h->uid) < 0)
		return refuse(fault, "uid is not a number", AT_UID);
	if (tar_numeric(block + AT_GID, LEN_ID, &h->gid) < 0)
		return refuse(fault, "gid is not a number", AT_GID);
	if (tar_numeric(block + AT_MTIME, LEN_TIME, &h->mtime) < 0)
		return refuse(fault, "mtime is not a number", AT_MTIME);
	h->major = h->minor = 0;
	if (h->format == TAR_V7)
		return 0;
	/* Also of entries that are no devices. */
	if (tar_numeric(block + AT_MAJOR, LEN_ID, &h->major) < 0)
		return refuse(fault, "device major number is not a number", AT_MAJOR);
	if (tar_numeric(block + AT_MINOR, LEN_ID, &h->minor) < 0)
		return refuse(fault, "device minor number is not a number", AT_MINOR);
	return 0;
}

/*
 * GNU headers have no prefix, but some old writers (Go before 1.8) put one where access and
 * change time lie. It is one if those do not read as times, and it looks like a name.
 */
static size_t gnu_prefix_len(const uint8_t *block)
{
	const uint8_t *atime = block + AT_GNU_ATIME, *ctime = block + AT_GNU_CTIME;
	int64_t ignored;

	if ((!*atime || tar_numeric(atime, LEN_TIME, &ignored) == 0) &&
		(!*ctime || tar_numeric(ctime, LEN_TIME, &ignored) == 0))
		return 0;
	return is_ascii(block + AT_PREFIX, LEN_PREFIX) ? LEN_PREFIX : 0;
}

static void decode_name(struct tar_header *h, const uint8_t *block)
{
	static const uint8_t room_for_prefix[] = {
		[TAR_V7] = 0, [TAR_USTAR] = LEN_PREFIX, [TAR_STAR] = LEN_STAR_PREFIX
	};
	size_t len = h->format == TAR_GNU ? gnu_prefix_len(block) : room_for_prefix[h->format];
	size_t n = len ? copy_text(h->name, block + AT_PREFIX, len) : 0;

	if (n)
		h->name[n++] = '/';
	copy_text(h->name + n, block + AT_NAME, LEN_NAME);
}

int tar_header_decode(
	struct tar_header *h, const uint8_t block[static TAR_BLOCK], struct fault *fault)
{
	int64_t ignored;

	if (verify_checksum(block, fault) < 0)
		return -1;
	h->format = format_of(block);
	h->type = block[AT_TYPE];
	decode_name(h, block);
	copy_text(h->link, block + AT_LINK, TAR_LINK_MAX);
	if (decode_numbers(h, block, fault) < 0)
		return -1;
	if (h->format != TAR_STAR)
		return 0;
	if (tar_numeric(block + AT_STAR_ATIME, LEN_TIME, &ignored) < 0)
		return refuse(fault, "atime is not a number", AT_STAR_ATIME);
	if (tar_numeric(block + AT_STAR_CTIME, LEN_TIME, &ignored) < 0)
		return refuse(fault, "ctime is not a number", AT_STAR_CTIME);
	return 0;
}
