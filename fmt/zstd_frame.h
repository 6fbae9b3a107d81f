/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The outside of one zstd frame (RFC 8878, 3.1.1): header, block headers, checksum. What is in the
 * blocks is libzstd's.
 *
 * Reading a frame's header is left to libzstd. A reader that knows from a chunk index that `size`
 * bytes are expected of `len` stored ones needs no more than
 *	ZSTD_getFrameContentSize(p, len) == size	the size is pledged, and the expected one
 *	ZSTD_findFrameCompressedSize(p, len) == len	one frame, and no other behind it
 *	ZSTD_decompressDCtx() into `size` bytes		gives `size`
 * Memory is bounded by that: into a buffer for the whole content libzstd allocates no window,
 * whatever the header asks for, and a frame that wants a dictionary is refused.
 */
#ifndef FMT_ZSTD_FRAME_H
#define FMT_ZSTD_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "fmt/fault.h"

enum { ZSTD_FRAME_ALIGN_MAX = 9 }; /* bytes that zstd_frame_align() adds at most */

/*
 * Make the frame of `len` bytes end at a multiple of 4 when its first byte is at byte `offset` of
 * the blob. Empty raw blocks, 3 bytes each, are put behind its last block; content, content size
 * and checksum stay. This is for the last frame of a blob, since the chunk index must be aligned:
 * padding between the two would count as that frame's bytes.
 *
 * `frame` must be exactly one complete frame, as ZSTD_compress2() makes it, in a buffer with room
 * for ZSTD_FRAME_ALIGN_MAX more bytes. It is hashed, and its length put into sums, only
 * afterwards. Returns the new length: `len` to `len` + 9, a function of the frame and offset % 4.
 * 0 with the fault when that is no frame; then nothing was changed.
 */
size_t zstd_frame_align(uint8_t *frame, size_t len, uint64_t offset, struct fault *fault);

#endif
