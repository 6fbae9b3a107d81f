/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* For streams whose bytes are needed in another order than they come. */
#ifndef STREAM_SPOOL_H
#define STREAM_SPOOL_H

#include "lib/stream/stream.h"

/*
 * All bytes of `in` (which stays the caller's) in a temporary file without a name, in $TMPDIR or
 * /var/tmp: its descriptor, and *size. -1 on error, also when the user interrupts.
 */
int stream_spool(struct stream *in, uint64_t *size, struct error **err);

/* The same of bytes in memory. */
int spool_bytes(const void *p, size_t len, struct error **err);

/* $TMPDIR or /var/tmp: not /tmp, which may be memory. */
const char *spool_dir(void);

#endif
