// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Where the data of a sparse file lies: GNU tar tells it in five ways (its manual, "Storing
 * Sparse Files"), in headers, in PAX records, or in front of the data.
 */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/layer/parser.h"

static int bad_map(struct layer_parser *p, struct error **err, const char *why)
{
	return layer_header_error(p, p->entry.path, err, "sparse map %s", why);
}

/* Negative numbers survive the cast, and are refused by the check of the whole map. */
static int add_region(struct layer_parser *p, const struct tar_region *r, struct error **err)
{
	struct region_list *l = &p->regions;

	if (l->n == LAYER_MAX_REGIONS)
		return layer_header_error(p, p->entry.path, err,
			"sparse map has more than %u regions", LAYER_MAX_REGIONS);
	l->v = xgrow(l->v, l->n, &l->cap, sizeof(*l->v));
	l->v[l->n++] = (struct entry_region){ (uint64_t)r->offset, (uint64_t)r->length };
	return 0;
}

int layer_sparse_piece(struct layer_parser *p, const struct pax_record *r)
{
	bool want_offset = p->n_piece_numbers % 2 == 0;
	struct region_list *l = &p->pieces;
	int64_t value = 0;

	if ((r->key == PAX_SPARSE_OFFSET) != want_offset || memchr(r->value.p, ',', r->value.len))
		return -1;
	if (p->n_piece_numbers++ == 0)
		p->blank_piece = r->value.len == 0;
	if (tar_decimal(r->value, &value) < 0)
		p->bad_piece = true;
	if (want_offset) {
		l->v = xgrow(l->v, l->n, &l->cap, sizeof(*l->v));
		l->v[l->n++] = (struct entry_region){ (uint64_t)value, 0 };
	} else {
		l->v[l->n - 1].length = (uint64_t)value;
	}
	return 0;
}

/*
 * Offset and numbytes records (0.0) are the same as one map record (0.1) with their values
 * between commas, and stand before it. A single empty value makes an empty map.
 */
static bool has_pieces(const struct layer_parser *p)
{
	return p->n_piece_numbers > 0;
}

static bool has_map(const struct layer_parser *p)
{
	if (has_pieces(p))
		return p->n_piece_numbers > 1 || !p->blank_piece;
	return p->values[PAX_SPARSE_MAP].len > 0;
}

static int map_from_pieces(struct layer_parser *p, int64_t n, struct error **err)
{
	if (p->bad_piece || p->n_piece_numbers % 2)
		return bad_map(p, err, "has an offset or a length that is not a number");
	if ((uint64_t)n != p->pieces.n)
		return bad_map(p, err, "has not as many regions as it says");
	for (size_t i = 0; i < p->pieces.n; i++) {
		const struct entry_region *r = &p->pieces.v[i];

		if (add_region(p, &(struct tar_region){ (int64_t)r->offset, (int64_t)r->length },
			    err) < 0)
			return -1;
	}
	return 0;
}

static int map_from_record(struct layer_parser *p, int64_t n, struct error **err)
{
	struct tar_span map = p->values[PAX_SPARSE_MAP];
	struct tar_region r;
	int got;

	if (map.len == 0)
		map.p = NULL;
	while ((got = pax_sparse_map_next(&map, &r.offset)) > 0) {
		if (pax_sparse_map_next(&map, &r.length) <= 0)
			return bad_map(p, err, "has a length that is missing or no number");
		if (add_region(p, &r, err) < 0)
			return -1;
	}
	if (got < 0)
		return bad_map(p, err, "has an offset that is not a number");
	if ((uint64_t)n != p->regions.n)
		return bad_map(p, err, "has not as many regions as it says");
	return 0;
}

static int map_from_pax(struct layer_parser *p, struct error **err)
{
	int64_t n;

	if (tar_decimal(p->values[PAX_SPARSE_NUMBLOCKS], &n) < 0 || n < 0)
		return bad_map(p, err, "does not say how many regions it has");
	if (has_pieces(p) && has_map(p))
		return map_from_pieces(p, n, err);
	if (has_pieces(p))
		p->values[PAX_SPARSE_MAP].len = 0;
	return map_from_record(p, n, err);
}

static bool value_is(const struct layer_parser *p, enum pax_key key, char c)
{
	return p->values[key].len == 1 && *p->values[key].p == c;
}

static enum sparse_kind pax_kind(const struct layer_parser *p)
{
	bool minor0 = value_is(p, PAX_SPARSE_MINOR, '0'),
	     minor1 = value_is(p, PAX_SPARSE_MINOR, '1');

	if (value_is(p, PAX_SPARSE_MAJOR, '0') && (minor0 || minor1))
		return SPARSE_COMPLETE;
	if (value_is(p, PAX_SPARSE_MAJOR, '1') && minor0)
		return SPARSE_MAP_FOLLOWS;
	/* A version that Go does not know makes a plain file. */
	if (p->values[PAX_SPARSE_MAJOR].len || p->values[PAX_SPARSE_MINOR].len)
		return SPARSE_NOT;
	/* GNU tar wrote no version with the first two. */
	return has_map(p) ? SPARSE_COMPLETE : SPARSE_NOT;
}

/* Name and size in the header are those of the file as it is packed. */
static int merge_sparse_records(struct layer_parser *p, struct error **err)
{
	struct tar_span name = p->values[PAX_SPARSE_NAME];
	struct tar_span size = p->values[PAX_SPARSE_SIZE];

	if (name.len) {
		p->entry.path = name.p;
		if (memchr(name.p, 0, name.len))
			return bad_map(p, err, "gives the file a name with a NUL byte in it");
	}
	if (size.len == 0)
		size = p->values[PAX_SPARSE_REALSIZE];
	if (size.len && tar_decimal(size, &p->logical_size) < 0)
		return bad_map(p, err, "has a file size that is not a number");
	return 0;
}

static int begin_pax(struct layer_parser *p, enum sparse_kind *kind, struct error **err)
{
	*kind = pax_kind(p);
	if (*kind == SPARSE_NOT)
		return 0;
	if (p->entry.type != ENTRY_FILE)
		return bad_map(p, err, "belongs to an entry that is no file");
	if (merge_sparse_records(p, err) < 0)
		return -1;
	p->map_left = -1;
	p->map_text = (struct sparse_text){ 0 };
	return *kind == SPARSE_COMPLETE ? map_from_pax(p, err) : 0;
}

static int add_slots(struct layer_parser *p, const uint8_t *slots, unsigned n, struct error **err)
{
	struct tar_region r;

	for (unsigned i = 0; i < n; i++) {
		int got = tar_sparse_slot(slots, i, &r);

		if (got < 0)
			return bad_map(p, err, "has an offset or a length that is not a number");
		if (got == 0)
			return 0;
		if (add_region(p, &r, err) < 0)
			return -1;
	}
	return 0;
}

static int begin_old_gnu(
	struct layer_parser *p, const uint8_t *header, enum sparse_kind *kind, struct error **err)
{
	/* STAR has a sparse format with the same letter, and with other fields. */
	if (p->header.format != TAR_GNU)
		return bad_map(p, err, "is in a header that is not GNU tar's");
	if (tar_sparse_real_size(header, &p->logical_size) < 0)
		return bad_map(p, err, "has a file size that is not a number");
	if (add_slots(p, tar_sparse_slots(header), TAR_SPARSE_SLOTS, err) < 0)
		return -1;
	*kind = tar_sparse_continues(header) ? SPARSE_EXT_FOLLOWS : SPARSE_COMPLETE;
	return 0;
}

int layer_sparse_begin(
	struct layer_parser *p, const uint8_t *header, enum sparse_kind *kind, struct error **err)
{
	p->regions.n = 0;
	if (p->header.type == TAR_GNU_SPARSE)
		return begin_old_gnu(p, header, kind, err);
	return begin_pax(p, kind, err);
}

int layer_sparse_ext_block(struct layer_parser *p, const uint8_t *block, struct error **err)
{
	if (add_slots(p, block, TAR_SPARSE_EXT_SLOTS, err) < 0)
		return -1;
	return tar_sparse_ext_continues(block);
}

/* The count of regions, once, then an offset and a length in turn. */
static int take_map_number(struct layer_parser *p, int64_t value, struct error **err)
{
	struct region_list *l = &p->regions;

	if (p->map_left < 0) {
		if (value < 0)
			return bad_map(p, err, "has a negative number of regions");
		if (value > LAYER_MAX_REGIONS)
			return layer_header_error(p, p->entry.path, err,
				"sparse map has more than %u regions", LAYER_MAX_REGIONS);
		p->map_left = value * 2;
		return 0;
	}
	if (p->map_left-- % 2 == 0)
		return add_region(p, &(struct tar_region){ value, 0 }, err);
	l->v[l->n - 1].length = (uint64_t)value;
	return 0;
}

int layer_sparse_map_block(struct layer_parser *p, const uint8_t *block, struct error **err)
{
	int64_t value;
	size_t pos = 0;
	int got;

	while ((got = sparse_text_next(&p->map_text, block, &pos, &value)) > 0) {
		if (take_map_number(p, value, err) < 0)
			return -1;
		if (p->map_left == 0)
			return 0;
	}
	return got < 0 ? bad_map(p, err, "has an offset or a length that is not a number") : 1;
}

int layer_sparse_check(struct layer_parser *p, struct error **err)
{
	struct region_list *l = &p->regions;
	uint64_t data = 0;
	int64_t end = 0;
	size_t n = 0;

	if (p->logical_size < 0)
		return bad_map(p, err, "has a negative file size");
	for (size_t i = 0; i < l->n; i++) {
		struct entry_region r = l->v[i];
		struct tar_region told = { (int64_t)r.offset, (int64_t)r.length };

		if (!tar_region_fits(&told, end, p->logical_size))
			return bad_map(p, err,
				"has a region that is out of order or beyond the file's end");
		end = told.offset + told.length;
		data += r.length;
		if (r.length)
			l->v[n++] = r;
	}
	l->n = n;
	if (data != p->body_left)
		return layer_header_error(p, p->entry.path, err,
			"sparse map tells of %" PRIu64 " bytes of data, the tar has %" PRIu64, data,
			p->body_left);
	return 0;
}
