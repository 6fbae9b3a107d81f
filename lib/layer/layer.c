// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The parser as a machine: every state takes what it can of the bytes at hand, so pushes may
 * end anywhere. Only blocks that are cut by the end of a push, and the bodies of PAX headers
 * and long names, are copied.
 */
#include "config.h"

#include "lib/layer/layer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/layer/parser.h"

struct layer_parser *layer_parser_new(const struct layer_events *events, void *arg)
{
	struct layer_parser *p = xzalloc(sizeof(*p));

	p->events = events;
	p->arg = arg;
	return p;
}

void layer_parser_free(struct layer_parser *p)
{
	if (!p)
		return;
	free(p->pax.p);
	free(p->long_name.p);
	free(p->long_link.p);
	free(p->xattrs.v);
	free(p->pieces.v);
	free(p->regions.v);
	free(p);
}

static void wrap_path(struct error **err, const char *path)
{
	CLEANUP_FREE char *shown = NULL;

	if (!path || !*path)
		return;
	shown = text_shown(path);
	error_wrap(err, "%s", shown);
}

int layer_header_error(
	const struct layer_parser *p, const char *path, struct error **err, const char *fmt, ...)
{
	CLEANUP_FREE char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	error_set(err, 0, "tar header at byte %" PRIu64 ": %s", p->header_at, text);
	wrap_path(err, path);
	return -1;
}

static void consume(struct layer_parser *p, size_t n)
{
	p->in += n;
	p->in_len -= n;
	p->offset += n;
}

/* The next whole block, if it is there: where it lies in the push, or gathered from several. */
static const uint8_t *next_block(struct layer_parser *p)
{
	const uint8_t *whole = p->in;
	size_t n = TAR_BLOCK - p->block_have;

	if (p->block_have == 0 && p->in_len >= TAR_BLOCK) {
		consume(p, TAR_BLOCK);
		return whole;
	}
	if (n > p->in_len)
		n = p->in_len;
	memcpy(p->block + p->block_have, p->in, n);
	p->block_have += n;
	consume(p, n);
	if (p->block_have < TAR_BLOCK)
		return NULL;
	p->block_have = 0;
	return p->block;
}

static void end_entry(struct layer_parser *p)
{
	layer_meta_reset(p);
	p->in_group = false;
	p->state = p->pad ? IN_PADDING : AT_HEADER;
}

/*
 * Meta entries: the body is kept, and one NUL behind it.
 */
static struct meta_body *meta_body_of(struct layer_parser *p)
{
	switch (p->header.type) {
	case TAR_GNU_LONG_NAME:
		return &p->long_name;
	case TAR_GNU_LONG_LINK:
		return &p->long_link;
	default:
		return &p->pax;
	}
}

static int end_meta(struct layer_parser *p, struct error **err)
{
	meta_body_of(p)->p[meta_body_of(p)->len] = 0;
	p->state = p->pad ? IN_PADDING : AT_HEADER;
	return layer_meta_complete(p, err);
}

static int begin_meta(struct layer_parser *p, struct error **err)
{
	struct meta_body *body = meta_body_of(p);
	size_t size = (size_t)p->header.size;

	if (p->header.size < 0)
		return layer_header_error(
			p, NULL, err, "size %" PRId64 " is negative", p->header.size);
	if (p->header.size > LAYER_MAX_META)
		return layer_header_error(p, NULL, err, "%s of %" PRId64 " bytes is longer than %u",
			body == &p->pax ? "PAX header" : "long name", p->header.size,
			LAYER_MAX_META);
	if (size + 1 > body->cap) {
		body->cap = size + 1 < 4096 ? 4096 : size + 1;
		body->p = xrealloc_array(body->p, body->cap, 1);
	}
	body->len = 0;
	p->body_left = size;
	p->pad = (unsigned)(-size & (TAR_BLOCK - 1));
	p->state = IN_META;
	return size ? 0 : end_meta(p, err);
}

static int read_meta(struct layer_parser *p, struct error **err)
{
	struct meta_body *body = meta_body_of(p);
	size_t n = p->in_len < p->body_left ? p->in_len : (size_t)p->body_left;

	memcpy(body->p + body->len, p->in, n);
	body->len += n;
	p->body_left -= n;
	consume(p, n);
	return p->body_left ? 0 : end_meta(p, err);
}

/*
 * Entries. Data and holes are told as soon as the bytes so far allow.
 */
static int tell_hole(struct layer_parser *p, uint64_t end, struct error **err)
{
	uint64_t len = end - p->pos;

	if (len == 0)
		return 0;
	p->pos = end;
	return p->events->hole(p->arg, len, err);
}

static int tell_data(struct layer_parser *p, const struct entry_region *run, struct error **err)
{
	uint64_t left = run->offset + run->length - p->pos;
	size_t n = p->in_len < left ? p->in_len : (size_t)left;
	const uint8_t *data = p->in;

	consume(p, n);
	p->pos += n;
	p->body_left -= n;
	return p->events->data(p->arg, data, n, err);
}

static int read_data(struct layer_parser *p, struct error **err)
{
	while (p->run < p->runs_end) {
		const struct entry_region *run = p->run;

		if (p->pos < run->offset && tell_hole(p, run->offset, err) < 0)
			return -1;
		if (p->in_len == 0)
			return 0;
		if (tell_data(p, run, err) < 0)
			return -1;
		if (p->pos == run->offset + run->length)
			p->run++;
	}
	if (tell_hole(p, p->entry.size, err) < 0)
		return -1;
	end_entry(p);
	return p->events->file_end(p->arg, err);
}

static int begin_data(struct layer_parser *p, struct error **err)
{
	struct entry *e = &p->entry;

	if (*e->path == 0)
		return layer_header_error(p, NULL, err, "entry has no name");
	e->size = e->type == ENTRY_FILE ? (uint64_t)p->logical_size : 0;
	e->n_regions = e->sparse ? p->regions.n : 0;
	e->regions = e->n_regions ? p->regions.v : NULL;
	p->whole = (struct entry_region){ 0, e->size };
	p->run = e->n_regions ? e->regions : &p->whole;
	p->runs_end = p->run + (e->sparse ? e->n_regions : e->size > 0);
	p->pos = 0;
	p->state = IN_DATA;
	if (p->events->entry(p->arg, e, err) < 0)
		return -1;
	if (e->type == ENTRY_FILE)
		return read_data(p, err);
	end_entry(p);
	return 0;
}

static int begin_entry(struct layer_parser *p, const uint8_t *header, struct error **err)
{
	enum sparse_kind kind = SPARSE_NOT;

	if (layer_merge(p, err) < 0 || layer_sparse_begin(p, header, &kind, err) < 0)
		return -1;
	p->entry.sparse = kind != SPARSE_NOT;
	switch (kind) {
	case SPARSE_EXT_FOLLOWS:
		p->state = IN_SPARSE_EXT;
		return 0;
	case SPARSE_MAP_FOLLOWS:
		p->state = IN_SPARSE_MAP;
		return 0;
	case SPARSE_COMPLETE:
		if (layer_sparse_check(p, err) < 0)
			return -1;
		break;
	case SPARSE_NOT:
		break;
	}
	return begin_data(p, err);
}

static int read_sparse_ext(struct layer_parser *p, struct error **err)
{
	const uint8_t *block = next_block(p);
	int more = block ? layer_sparse_ext_block(p, block, err) : 1;

	if (more)
		return more < 0 ? -1 : 0;
	return layer_sparse_check(p, err) < 0 ? -1 : begin_data(p, err);
}

/* The map is a part of the body, and fills whole blocks of it. */
static int read_sparse_map(struct layer_parser *p, struct error **err)
{
	const uint8_t *block;
	int more;

	if (p->body_left < TAR_BLOCK)
		return layer_header_error(
			p, p->entry.path, err, "sparse map is longer than the file's body");
	block = next_block(p);
	if (!block)
		return 0;
	p->body_left -= TAR_BLOCK;
	more = layer_sparse_map_block(p, block, err);
	if (more)
		return more < 0 ? -1 : 0;
	return layer_sparse_check(p, err) < 0 ? -1 : begin_data(p, err);
}

/* A name that is known without the header, for an error about it. */
static const char *name_so_far(const struct layer_parser *p)
{
	return p->long_name.len ? p->long_name.p : p->values[PAX_PATH].p;
}

static int read_header(struct layer_parser *p, struct error **err)
{
	const uint8_t *block = next_block(p);
	struct fault fault = { 0 };

	if (!block)
		return 0;
	if (tar_block_is_zero(block)) {
		p->state = AT_SECOND_ZERO_BLOCK;
		return 0;
	}
	p->header_at = p->offset - TAR_BLOCK;
	p->body_at = p->offset;
	if (tar_header_decode(&p->header, block, &fault) < 0)
		return layer_header_error(p, name_so_far(p), err, "%s", fault.what);
	if (!p->in_group) {
		p->entry.header_offset = p->header_at;
		p->in_group = true;
	}
	/* Not even where a PAX record is about to say another size. */
	if (p->header.size < 0 && !tar_type_has_no_body(p->header.type))
		return layer_header_error(
			p, p->header.name, err, "size %" PRId64 " is negative", p->header.size);
	switch (p->header.type) {
	case TAR_PAX:
	case TAR_PAX_GLOBAL:
	case TAR_GNU_LONG_NAME:
	case TAR_GNU_LONG_LINK:
		return begin_meta(p, err);
	}
	return begin_entry(p, block, err);
}

static int read_second_zero_block(struct layer_parser *p, struct error **err)
{
	const uint8_t *block = next_block(p);

	if (!block)
		return 0;
	if (!tar_block_is_zero(block))
		return error_set(err, 0,
			"tar block at byte %" PRIu64 ": something follows a single zero block",
			p->offset - TAR_BLOCK);
	p->state = AT_END;
	return 0;
}

static void skip_padding(struct layer_parser *p)
{
	size_t n = p->in_len < p->pad ? p->in_len : p->pad;

	p->pad -= (unsigned)n;
	consume(p, n);
	if (p->pad == 0)
		p->state = AT_HEADER;
}

static int step(struct layer_parser *p, struct error **err)
{
	switch (p->state) {
	case AT_HEADER:
		return read_header(p, err);
	case AT_SECOND_ZERO_BLOCK:
		return read_second_zero_block(p, err);
	case IN_META:
		return read_meta(p, err);
	case IN_SPARSE_EXT:
		return read_sparse_ext(p, err);
	case IN_SPARSE_MAP:
		return read_sparse_map(p, err);
	case IN_DATA:
		return read_data(p, err);
	case IN_PADDING:
		skip_padding(p);
		return 0;
	case AT_END:
		consume(p, p->in_len);
		return 0;
	}
	__builtin_unreachable();
}

int layer_parser_push(struct layer_parser *p, const uint8_t *buf, size_t len, struct error **err)
{
	p->in = buf;
	p->in_len = len;
	while (p->in_len)
		if (step(p, err) < 0)
			return -1;
	return 0;
}

static int ends_early(
	const struct layer_parser *p, const char *path, const char *where, struct error **err)
{

	error_set(err, 0, "layer ends at byte %" PRIu64 ", in the middle of %s", p->offset, where);
	wrap_path(err, path);
	return -1;
}

int layer_parser_finish(struct layer_parser *p, struct error **err)
{
	switch (p->state) {
	case AT_HEADER:
		if (p->block_have)
			return ends_early(p, name_so_far(p), "a tar header", err);
		return 0;
	case AT_SECOND_ZERO_BLOCK:
		if (p->block_have)
			return ends_early(p, NULL, "the end marker", err);
		return 0;
	case IN_META:
		return ends_early(
			p, NULL, meta_body_of(p) == &p->pax ? "a PAX header" : "a long name", err);
	case IN_SPARSE_EXT:
	case IN_SPARSE_MAP:
		return ends_early(p, p->entry.path, "a sparse map", err);
	case IN_DATA:
		return ends_early(p, p->entry.path, "the file's data", err);
	/* Readers do not insist on padding, nor on an end marker. */
	case IN_PADDING:
	case AT_END:
		return 0;
	}
	__builtin_unreachable();
}
