/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Layers come plain, as gzip or as zstd; what they are is read off their first bytes. */
#ifndef STREAM_DECOMPRESS_H
#define STREAM_DECOMPRESS_H

#include <stdbool.h>

#include "lib/stream/stream.h"

/*
 * The uncompressed bytes of `in` (taken over). As container runtimes do, the first bytes decide
 * and not the media type. gzip may have many members, zstd many frames; checksums are verified.
 * read() fills the buffer as far as it can: fewer bytes than asked for mean the end.
 * Memory: 0.5 MiB, and for zstd the frame's window (128 MiB at most).
 */
struct stream *stream_decompress(struct stream *in);

/* Does something that begins like this need decompressing (or an error that says it cannot be)? */
#define STREAM_MAGIC_SIZE 6
bool stream_is_compressed(const uint8_t magic[static STREAM_MAGIC_SIZE]);

#endif
