/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A blob's uncompressed bytes as they pass by: its digest, a data blob's constant first block,
 * and the bytes behind the ends of files.
 */
#ifndef VERIFY_BLOB_CONTENT_H
#define VERIFY_BLOB_CONTENT_H

#include <stdbool.h>

#include "lib/base/digest.h"
#include "lib/verify/faults.h"
#include "lib/verify/structure.h"

enum { BAD_TAILS_MAX = 10 }; /* kept of each blob */

struct bad_tail {
	const struct tail *tail;
	uint16_t at; /* the first byte of the block that should be zero */
};

struct blob_content {
	/* set by the user: */
	bool is_device;
	const struct tail *tails; /* its own, by block */
	size_t n_tails;
	/* found: */
	bool first_differs;
	uint16_t first_at; /* where the first block differs */
	struct bad_tail bad[BAD_TAILS_MAX];
	size_t n_bad; /* of all, also those not kept */
	/* inside: */
	struct hasher *hasher;
	uint64_t at; /* bytes taken */
	size_t next_tail;
	size_t fill;
	uint8_t *block; /* one that comes in pieces */
	bool gap; /* one of them is not known */
};

/* With `hasher`, which is taken over, their digest is found, too. */
void blob_content_start(struct blob_content *c, struct hasher *hasher);

/* The next bytes; NULL for some that cannot be had: nothing is said of them. */
void blob_content_take(struct blob_content *c, const uint8_t *p, size_t len);

/* They end: *d is the digest of all, when there is a hasher. */
void blob_content_end(struct blob_content *c, struct digest *d);

/* What was found, of the blob `name` and its device (1 and up); b may be NULL. */
void blob_content_report(const struct blob_content *c, const char *name, unsigned device,
	const struct bootstrap *b, struct faults *faults);

void blob_content_free(struct blob_content *c); /* what it holds, not c itself */

#endif
