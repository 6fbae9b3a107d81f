/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A frame as stored, back to the device's bytes: verified first, then decompressed. */
#ifndef BLOB_DECODER_H
#define BLOB_DECODER_H

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/blob/range_map.h"

/* For one thread at a time. */
struct decoder;

struct decoder *decoder_new(void);
void decoder_free(struct decoder *d); /* NULL is allowed */

/* The SHA-256 of the stored bytes against the index's. The error does not name blob or frame. */
int frame_verify(const struct frame *f, const uint8_t *stored, struct error **err);

/*
 * f->stored_size bytes at `stored`, verified, to exactly f->size bytes at `out`. Memory beside the
 * two buffers is bounded, whatever the frame asks for.
 */
int decoder_decode(struct decoder *d, const struct frame *f, const uint8_t *stored, uint8_t *out,
	struct error **err);

static inline void cleanup_decoder_(struct decoder **d)
{
	decoder_free(*d);
}

#define CLEANUP_DECODER CLEANUP(cleanup_decoder_)

#endif
