// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <string.h>

#include "fmt/tar.h"

/* GNU tar manual, "Storing Sparse Files", "Old GNU Format". */
enum {
	AT_SLOTS = 386,
	AT_CONTINUES = 482,
	AT_REAL_SIZE = 483,
	AT_EXT_CONTINUES = 504,

	LEN_NUMBER = 12,
	LEN_SLOT = 24,
};

const uint8_t *tar_sparse_slots(const uint8_t header[static TAR_BLOCK])
{
	return header + AT_SLOTS;
}

bool tar_sparse_continues(const uint8_t header[static TAR_BLOCK])
{
	return header[AT_CONTINUES] != 0;
}

bool tar_sparse_ext_continues(const uint8_t ext[static TAR_BLOCK])
{
	return ext[AT_EXT_CONTINUES] != 0;
}

int tar_sparse_real_size(const uint8_t header[static TAR_BLOCK], int64_t *size)
{
	return tar_numeric(header + AT_REAL_SIZE, LEN_NUMBER, size);
}

int tar_sparse_slot(const uint8_t *slots, unsigned i, struct tar_region *r)
{
	const uint8_t *slot = slots + i * LEN_SLOT;

	if (*slot == 0)
		return 0;
	if (tar_numeric(slot, LEN_NUMBER, &r->offset) < 0)
		return -1;
	return tar_numeric(slot + LEN_NUMBER, LEN_NUMBER, &r->length) < 0 ? -1 : 1;
}

int pax_sparse_map_next(struct tar_span *map, int64_t *value)
{
	struct tar_span number = *map;
	const char *comma;

	/* An exhausted map has no pointer any more; one that ends in a comma has a bad number. */
	if (!map->p)
		return 0;
	comma = memchr(map->p, ',', map->len);
	if (comma) {
		number.len = (size_t)(comma - map->p);
		*map = (struct tar_span){ comma + 1, map->len - number.len - 1 };
	} else {
		*map = (struct tar_span){ NULL, 0 };
	}
	return tar_decimal(number, value) < 0 ? -1 : 1;
}

static int sparse_text_end(struct sparse_text *s, int64_t *value)
{
	struct sparse_text done = *s;

	*s = (struct sparse_text){ 0 };
	if (!done.digits || done.overflow || done.magnitude > (uint64_t)INT64_MAX + done.negative)
		return -1;
	*value = (int64_t)(done.negative ? -done.magnitude : done.magnitude);
	return 1;
}

int sparse_text_next(
	struct sparse_text *s, const uint8_t block[static TAR_BLOCK], size_t *pos, int64_t *value)
{
	while (*pos < TAR_BLOCK) {
		uint8_t c = block[(*pos)++];
		unsigned digit = (unsigned)c - '0';

		if (c == '\n')
			return sparse_text_end(s, value);
		if (digit <= 9) {
			s->overflow |= __builtin_mul_overflow(s->magnitude, 10u, &s->magnitude) ||
				       __builtin_add_overflow(s->magnitude, digit, &s->magnitude);
			s->digits = true;
		} else if ((c == '-' || c == '+') && !s->any) {
			s->negative = c == '-';
		} else {
			return -1;
		}
		s->any = true;
	}
	return 0;
}

bool tar_region_fits(const struct tar_region *r, int64_t end, int64_t size)
{
	if (r->offset < 0 || r->length < 0 || r->offset > INT64_MAX - r->length)
		return false;
	return r->offset >= end && r->offset + r->length <= size;
}
