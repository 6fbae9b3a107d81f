/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A file that is there already (a bootstrap) as a compressed blob. */
#ifndef BLOB_COMPRESS_H
#define BLOB_COMPRESS_H

#include "lib/blob/writer.h"

/*
 * Compress the `size` bytes of the descriptor, whole blocks and one at least, into `out`, which is
 * taken over and returned, or freed on error. The workers must be idle, and are again.
 */
struct outfile *blob_compress(struct workers *workers, const struct blob_format *format,
	unsigned max_frames, int fd, uint64_t size, struct outfile *out, struct blob_result *result,
	struct error **err);

#endif
