// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/zstd_frame.h"

#include "fmt/le.h"

#define MAGIC 0xfd2fb528u

enum { MAGIC_SIZE = 4, BLOCK_HEADER = 3, CHECKSUM = 4 };

/* Bits of the frame header's descriptor. */
enum { SINGLE_SEGMENT = 1 << 5, RESERVED = 1 << 3, HAS_CHECKSUM = 1 << 2 };

/* A block's header: last, type, size. Two types are sizes of content: raw and RLE. */
enum { LAST_BLOCK = 1, TYPE_SHIFT = 1, SIZE_SHIFT = 3 };
enum { RAW = 0, RLE = 1, TYPE_RESERVED = 3 };

static size_t refuse(struct fault *fault, const char *what, uint64_t offset)
{
	*fault = (struct fault){ .what = what, .offset = offset };
	return 0;
}

static uint32_t get_block_header(const uint8_t *p)
{
	return get_le16(p) | (uint32_t)p[2] << 16;
}

/* Bytes of magic number and frame header, whose descriptor byte this is. */
static size_t header_size(uint8_t descriptor)
{
	static const uint8_t dictionary_id[4] = { 0, 1, 2, 4 };
	static const uint8_t content_size[4] = { 0, 2, 4, 8 };
	size_t single = descriptor & SINGLE_SEGMENT ? 1 : 0;
	size_t size = content_size[descriptor >> 6];

	if (!size)
		size = single; /* one byte, or none */
	return MAGIC_SIZE + 1 + !single + dictionary_id[descriptor & 3] + size;
}

/* Where the header of the last block is, when the blocks that begin at `at` end at `end`. */
static size_t find_last_block(const uint8_t *frame, size_t at, size_t end, struct fault *fault)
{
	for (;;) {
		uint32_t header, type;
		size_t size;

		if (end - at < BLOCK_HEADER)
			return refuse(fault, "zstd frame is cut off", at);
		header = get_block_header(frame + at);
		type = header >> TYPE_SHIFT & 3;
		size = BLOCK_HEADER + (type == RLE ? 1 : header >> SIZE_SHIFT);
		if (type == TYPE_RESERVED)
			return refuse(fault, "zstd frame has a block of a reserved type", at);
		if (size > end - at)
			return refuse(fault, "zstd frame is cut off", at);
		if (header & LAST_BLOCK) {
			if (size < end - at)
				return refuse(fault, "zstd frame has bytes behind it", at + size);
			return at;
		}
		at += size;
	}
}

static size_t find_end_of_blocks(
	const uint8_t *frame, size_t len, size_t *last_block, struct fault *fault)
{
	size_t end = len, header;

	if (len < MAGIC_SIZE + 1)
		return refuse(fault, "zstd frame is cut off", len);
	if (get_le32(frame) != MAGIC)
		return refuse(fault, "zstd frame has a wrong magic number", 0);
	if (frame[MAGIC_SIZE] & RESERVED)
		return refuse(fault, "zstd frame has a reserved bit", MAGIC_SIZE);
	header = header_size(frame[MAGIC_SIZE]);
	if (frame[MAGIC_SIZE] & HAS_CHECKSUM)
		end = len < CHECKSUM ? 0 : len - CHECKSUM;
	if (header > end)
		return refuse(fault, "zstd frame is cut off", len);
	*last_block = find_last_block(frame, header, end, fault);
	return *last_block ? end : 0;
}

size_t zstd_frame_align(uint8_t *frame, size_t len, uint64_t offset, struct fault *fault)
{
	/* n blocks add 3n, which is -n in steps of 4 */
	size_t n = (len + offset) & 3, last_block, end;

	end = find_end_of_blocks(frame, len, &last_block, fault);
	if (!end)
		return 0;
	if (!n)
		return len;
	memmove(frame + end + n * BLOCK_HEADER, frame + end, len - end);
	memset(frame + end, RAW, n * BLOCK_HEADER);
	frame[last_block] &= (uint8_t)~LAST_BLOCK;
	frame[end + (n - 1) * BLOCK_HEADER] = LAST_BLOCK;
	return len + n * BLOCK_HEADER;
}
