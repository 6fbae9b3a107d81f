/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A digest of a file's bytes that does not depend on how they came: in pieces of any size, and
 * zeros as bytes or as a hole. A hole costs nothing, whatever its size.
 *
 * It is the SHA-256 of all blocks of 4 KiB that are not zero, the last one filled with zeros,
 * and, if there are zero blocks, of the SHA-256 of the lengths of the runs of both. Two files of
 * one size have the same digest only if they have the same bytes.
 */
#ifndef VERIFY_FINGERPRINT_H
#define VERIFY_FINGERPRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"

enum { FINGERPRINT_BLOCK = 4096, FINGERPRINT_SIZE = 32 };

struct fingerprint {
	struct hasher *data;
	struct hasher *runs; /* NULL until there is a zero block */
	uint64_t run; /* blocks of the current run */
	bool in_zeros; /* what it is a run of */
	size_t fill; /* of the open block */
	uint8_t block[FINGERPRINT_BLOCK];
};

void fingerprint_begin(struct fingerprint *c); /* an earlier one has ended, or c is zeroed */
void fingerprint_data(struct fingerprint *c, const uint8_t *p, size_t len);
void fingerprint_hole(struct fingerprint *c, uint64_t len);
void fingerprint_end(struct fingerprint *c, uint8_t digest[static FINGERPRINT_SIZE]);
void fingerprint_free(struct fingerprint *c); /* of one that may not have ended */

#define CLEANUP_FINGERPRINT CLEANUP(fingerprint_free)

#endif
