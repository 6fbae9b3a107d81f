/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A digest of a file's bytes that does not depend on how they came: in pieces of any size, and
 * zeros as bytes or as a hole. A hole costs nothing, whatever its size.
 *
 * It is the SHA-256 of all blocks of 4 KiB that are not zero, the last one filled with zeros,
 * and, if there are zero blocks, of the SHA-256 of the lengths of the runs of both. Two files of
 * one size have the same digest only if they have the same bytes.
 */
#ifndef VERIFY_CONTENT_H
#define VERIFY_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"

enum { CONTENT_BLOCK = 4096, CONTENT_DIGEST = 32 };

struct content {
	struct hasher *data;
	struct hasher *runs; /* NULL until there is a zero block */
	uint64_t run; /* blocks of the current run */
	bool in_zeros; /* what it is a run of */
	size_t fill; /* of the open block */
	uint8_t block[CONTENT_BLOCK];
};

void content_begin(struct content *c); /* an earlier one has ended, or c is zeroed */
void content_data(struct content *c, const uint8_t *p, size_t len);
void content_hole(struct content *c, uint64_t len);
void content_end(struct content *c, uint8_t digest[static CONTENT_DIGEST]);
void content_free(struct content *c); /* of one that may not have ended */

#define CLEANUP_CONTENT CLEANUP(content_free)

#endif
