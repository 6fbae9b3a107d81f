/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A stream that vouches for its bytes. */
#ifndef STREAM_VERIFY_H
#define STREAM_VERIFY_H

#include "lib/base/digest.h"
#include "lib/stream/stream.h"

/*
 * Pass `in` (taken over) through, and fail at its end, or as soon as it is too long, unless it
 * was exactly `size` bytes with that digest. What was read before the end is not yet vouched for.
 */
struct stream *stream_verify(struct stream *in, const struct digest *digest, uint64_t size);

#endif
