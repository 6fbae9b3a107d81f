/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A tar layer as a stream of entries. Bytes are pushed in, in pieces of any size; entries and
 * file data come out through callbacks, pointing into the pushed bytes where that is possible.
 * Nothing here knows the file tree: what an entry means for it is lib/tree/apply.c's business.
 *
 * Where programs read a tar differently, Go's archive/tar is followed, since container
 * runtimes use it (docs/design.md, "Why the tar reader is ours").
 */
#ifndef LAYER_LAYER_H
#define LAYER_LAYER_H

#include <stddef.h>
#include <stdint.h>

#include "fmt/entry.h"
#include "lib/base/error.h"

/*
 * Each returns 0, or -1 with *err set, which ends the parse. For a regular file: entry(), then
 * data() and hole() in file order until size bytes are accounted for, then file_end(); the
 * others get entry() alone.
 */
struct layer_events {
	int (*entry)(void *arg, const struct entry *e, struct error **err);
	/* p points into the buffer being pushed; len is not 0. */
	int (*data)(void *arg, const uint8_t *p, size_t len, struct error **err);
	/* The next len bytes of the file are a hole. */
	int (*hole)(void *arg, uint64_t len, struct error **err);
	int (*file_end)(void *arg, struct error **err);
};

struct layer_parser;

/* events and arg must outlive the parser. */
struct layer_parser *layer_parser_new(const struct layer_events *events, void *arg);
void layer_parser_free(struct layer_parser *p);

/*
 * Push the next len bytes of the uncompressed tar. After the end-of-archive marker (two zero
 * blocks) everything is ignored, as tar readers do. Errors name the offset and, where known,
 * the path. After an error only layer_parser_free() may be called.
 */
int layer_parser_push(struct layer_parser *p, const uint8_t *buf, size_t len, struct error **err);

/*
 * The stream has ended: an error if that was in the middle of a header or a body. A missing end
 * marker, or missing padding behind the last body, is none.
 */
int layer_parser_finish(struct layer_parser *p, struct error **err);

#endif
