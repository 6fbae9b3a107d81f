/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* One frame's bytes to one zstd frame (RFC 8878), on any thread. */
#ifndef BLOB_ENCODER_H
#define BLOB_ENCODER_H

#include <stddef.h>
#include <stdint.h>

enum { ZSTD_LEVEL_MIN = 1, ZSTD_LEVEL_MAX = 22, ZSTD_LEVEL_DEFAULT = 3 };

/* Contexts of zstd, as many as threads encode at once; their output does not depend on which. */
struct encoder;

struct encoder *encoder_new(int level);
void encoder_free(struct encoder *e); /* NULL is allowed */

/* How long the frame of `len` bytes can become, with what zstd_frame_align() may add. */
size_t encoder_bound(size_t len);

/*
 * Compress all of `in` into `out`, which has encoder_bound(len) bytes. The frame says its content's
 * size and has no checksum of its own: the chunk index has one. Returns its length, or 0 when the
 * user interrupts.
 */
size_t encoder_encode(struct encoder *e, const uint8_t *in, size_t len, uint8_t *out);

#endif
