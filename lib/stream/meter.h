/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A stream that counts what passes, for progress. */
#ifndef STREAM_METER_H
#define STREAM_METER_H

#include <stdatomic.h>

#include "lib/stream/stream.h"

/*
 * Pass `in` (taken over) through, and add the bytes read to *count; *failed becomes true when `in`
 * fails (NULL: nobody asks). Both outlive it.
 */
struct stream *stream_meter(struct stream *in, _Atomic uint64_t *count, atomic_bool *failed);

#endif
