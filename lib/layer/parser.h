/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Inside of the layer parser: layer.c moves bytes, meta.c makes an entry of headers and
 * records, sparse.c finds out where a file's data lies.
 */
#ifndef LAYER_PARSER_H
#define LAYER_PARSER_H

#include "fmt/tar.h"
#include "lib/layer/layer.h"

/* A PAX header's or a GNU long name's body may be this long: Go's archive/tar has the limit. */
#define LAYER_MAX_META (1u << 20)
/* Regions of one sparse file. */
#define LAYER_MAX_REGIONS 1000000u

enum layer_state {
	AT_HEADER,
	AT_SECOND_ZERO_BLOCK,
	IN_META, /* the body of a PAX header or a GNU long name */
	IN_SPARSE_EXT, /* old GNU extension blocks */
	IN_SPARSE_MAP, /* the 1.0 map in front of a file's data */
	IN_DATA,
	IN_PADDING,
	AT_END,
};

/* The body of a meta entry, kept until the entry that it is for. */
struct meta_body {
	char *p; /* len bytes, then a NUL */
	size_t len, cap;
};

struct xattr_list {
	struct entry_xattr *v;
	size_t n, cap;
};

struct region_list {
	struct entry_region *v;
	size_t n, cap;
};

struct layer_parser {
	const struct layer_events *events;
	void *arg;

	enum layer_state state;
	const uint8_t *in; /* what is left of the bytes being pushed */
	size_t in_len;
	uint64_t offset; /* of in, bytes into the tar */
	uint8_t block[TAR_BLOCK]; /* for a block that came in pieces */
	size_t block_have;

	/* Of the header read last, and what to do after it. */
	struct tar_header header;
	uint64_t header_at;
	uint64_t body_at;
	uint64_t body_left; /* physical bytes */
	unsigned pad; /* behind the body */

	/* Meta entries seen since the last entry. */
	bool in_group; /* entry.header_offset is set */
	struct meta_body pax, long_name, long_link;
	struct tar_span values[PAX_VALUES]; /* into pax */
	struct xattr_list xattrs;
	struct region_list pieces; /* of a 0.0 map: offset and numbytes records */
	size_t n_piece_numbers;
	bool bad_piece; /* one that is no number: counts only if the map does */
	bool blank_piece; /* the first piece is empty */

	struct entry entry;
	int64_t logical_size;

	/* Where data lies in the file being read, and how far it has been read. */
	struct region_list regions;
	struct sparse_text map_text;
	int64_t map_left; /* numbers to come, -1 before the count of regions */
	struct entry_region whole;
	const struct entry_region *run, *runs_end;
	uint64_t pos;
};

/* An error about the header at header_at; names the path if `path` is not NULL. Returns -1. */
int layer_header_error(const struct layer_parser *p, const char *path, struct error **err,
	const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* meta.c: forget the meta entries; take the body of one that is complete. */
void layer_meta_reset(struct layer_parser *p);
int layer_meta_complete(struct layer_parser *p, struct error **err);
/* Merge the header with the meta entries before it into p->entry and p->logical_size. */
int layer_merge(struct layer_parser *p, struct error **err);

/* sparse.c: of the merged entry, find out how its map is told, and begin to read it. */
enum sparse_kind { SPARSE_NOT, SPARSE_COMPLETE, SPARSE_EXT_FOLLOWS, SPARSE_MAP_FOLLOWS };

int layer_sparse_begin(
	struct layer_parser *p, const uint8_t *header, enum sparse_kind *kind, struct error **err);
/* One more block of the map: 1 if more follow, 0 if it is complete, -1 if it is bad. */
int layer_sparse_ext_block(struct layer_parser *p, const uint8_t *block, struct error **err);
int layer_sparse_map_block(struct layer_parser *p, const uint8_t *block, struct error **err);
/* Check the complete map against the file's size and the bytes that the tar has of it. */
int layer_sparse_check(struct layer_parser *p, struct error **err);
/* A number of the 0.0 map, as its record comes by. */
int layer_sparse_piece(struct layer_parser *p, const struct pax_record *r);

#endif
