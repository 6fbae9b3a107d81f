// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Push any bytes into the layer parser, whole and in pieces: it must not crash, must keep to
 * the order of events that layer.h promises, and must say the same both times.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/layer/layer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct check {
	bool in_file;
	uint64_t left;
	uint64_t seen; /* a hash of all events */
};

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static void see(struct check *c, const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		c->seen = (c->seen ^ b[i]) * 0x100000001b3;
}

static void check_xattrs(struct check *c, const struct entry *e)
{
	for (size_t i = 0; i < e->n_xattrs; i++) {
		const struct entry_xattr *x = &e->xattrs[i];

		MUST(x->value_len > 0);
		MUST(i == 0 || strcmp(x[-1].name, x->name) < 0);
		see(c, x->name, strlen(x->name));
		see(c, x->value, x->value_len);
	}
}

static void check_regions(struct check *c, const struct entry *e)
{
	uint64_t end = 0;

	MUST(e->sparse || e->n_regions == 0);
	for (size_t i = 0; i < e->n_regions; i++) {
		const struct entry_region *r = &e->regions[i];

		MUST(r->length > 0 && r->offset >= end);
		MUST(r->offset <= e->size && r->length <= e->size - r->offset);
		end = r->offset + r->length;
		see(c, r, sizeof(*r));
	}
}

static int on_entry(void *arg, const struct entry *e, struct error **err)
{
	struct check *c = arg;

	MUST(!c->in_file);
	MUST(*e->path && e->link && e->mode <= 07777 && e->mtime_nsec < 1000000000);
	MUST(e->uid != UINT32_MAX && e->gid != UINT32_MAX && e->size <= INT64_MAX);
	MUST(e->type == ENTRY_FILE || (e->size == 0 && !e->sparse));
	check_xattrs(c, e);
	check_regions(c, e);
	see(c, e->path, strlen(e->path));
	see(c, e->link, strlen(e->link));
	see(c, &e->size, sizeof(e->size));
	see(c, &e->mtime, sizeof(e->mtime));
	see(c, &e->header_offset, sizeof(e->header_offset));
	c->in_file = e->type == ENTRY_FILE;
	c->left = e->size;
	return 0;
}

static int on_data(void *arg, const uint8_t *p, size_t len, struct error **err)
{
	struct check *c = arg;

	MUST(c->in_file && len > 0 && len <= c->left);
	c->left -= len;
	see(c, p, len);
	return 0;
}

static int on_hole(void *arg, uint64_t len, struct error **err)
{
	struct check *c = arg;

	MUST(c->in_file && len > 0 && len <= c->left);
	c->left -= len;
	see(c, &len, sizeof(len));
	return 0;
}

static int on_file_end(void *arg, struct error **err)
{
	struct check *c = arg;

	MUST(c->in_file && c->left == 0);
	c->in_file = false;
	see(c, "end", 3);
	return 0;
}

static const struct layer_events events = { on_entry, on_data, on_hole, on_file_end };

/* A buffer of exactly the piece, so that a read past it is seen. */
static int push_piece(struct layer_parser *p, const uint8_t *data, size_t len, struct error **err)
{
	CLEANUP_FREE uint8_t *copy = xmemdup(data, len);

	return layer_parser_push(p, copy, len, err);
}

/* piece: 0 for pieces whose sizes the input itself chooses. */
static int parse(
	const uint8_t *data, size_t size, size_t piece, struct check *c, struct error **err)
{
	struct layer_parser *p = layer_parser_new(&events, c);
	int r = 0;

	for (size_t pos = 0, n; pos < size && r == 0; pos += n) {
		n = piece ? piece : 1 + data[pos] * 7u;
		if (n > size - pos)
			n = size - pos;
		r = push_piece(p, data + pos, n, err);
	}
	if (r == 0)
		r = layer_parser_finish(p, err);
	layer_parser_free(p);
	return r;
}

/* Mutations would hardly ever get past the checksum: make it right where a header may be. */
static void repair_checksums(uint8_t *data, size_t size)
{
	for (uint8_t *b = data; size >= 512; b += 512, size -= 512) {
		unsigned sum = 0;

		if (memcmp(b + 257, "ustar", 5) != 0)
			continue;
		memset(b + 148, ' ', 8);
		for (size_t i = 0; i < 512; i++)
			sum += b[i];
		for (size_t i = 0; i < 6; i++)
			b[148 + i] = (uint8_t)('0' + (sum >> (15 - 3 * i) & 7));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	CLEANUP_FREE uint8_t *data = xmemdup(input, size);
	static const size_t pieces[] = { 0, 1, 511 };
	CLEANUP_ERROR struct error *whole_err = NULL;
	struct check whole = { 0 };
	int r;

	repair_checksums(data, size);
	r = parse(data, size, size ? size : 1, &whole, &whole_err);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		CLEANUP_ERROR struct error *err = NULL;
		struct check c = { 0 };

		MUST(parse(data, size, pieces[i], &c, &err) == r);
		if (r < 0)
			MUST(strcmp(err->msg, whole_err->msg) == 0);
		MUST(c.in_file == whole.in_file && c.left == whole.left && c.seen == whole.seen);
	}
	return 0;
}
