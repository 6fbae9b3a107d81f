// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Any bytes as a chunk index, and as a zstd frame. What the parser takes must be what the encoder
 * writes; the range map must answer as a search from the beginning does. A frame that is aligned
 * must stay one frame, of the same content, for libzstd.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "fmt/chunk_index.h"
#include "fmt/le.h"
#include "fmt/zstd_frame.h"
#include "lib/base/mem.h"
#include "lib/blob/range_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static void encode_again(const struct chunk_index *index, const uint8_t *payload, size_t size)
{
	CLEANUP_FREE uint8_t *out = xmalloc(size);

	MUST(chunk_index_size(index->n) == size);
	chunk_index_put_header(out, index->uncompressed_size, index->n);
	for (uint32_t i = 0; i < index->n; i++) {
		struct chunk_entry e = chunk_index_entry(index, i);

		chunk_index_put_entry(out + chunk_index_size(i), &e);
	}
	MUST(memcmp(out, payload, size) == 0);
}

static uint32_t find_from_the_beginning(const struct range_map *m, uint64_t offset)
{
	uint32_t i = 0;

	while (offset - range_map_frame(m, i).offset >= range_map_frame(m, i).size)
		i++;
	return i;
}

static void check_span(const struct range_map *m, uint64_t offset, uint64_t len)
{
	CLEANUP_ERROR struct error *err = NULL;
	uint64_t size = range_map_device_size(m);
	bool inside = offset <= size && len <= size - offset;
	uint32_t first, end;

	MUST((range_map_span(m, offset, len, &first, &end, &err) == 0) == inside);
	if (!inside || !len)
		return;
	MUST(first == find_from_the_beginning(m, offset));
	MUST(end == find_from_the_beginning(m, offset + len - 1) + 1);
}

static void check_frame(const struct range_map *m, uint32_t i)
{
	struct frame f = range_map_frame(m, i);
	uint64_t last = f.offset + f.size - 1;

	MUST(f.number == i && f.size && f.size <= range_map_largest(m));
	MUST(f.stored_size && f.stored_size <= range_map_largest_stored(m));
	MUST(f.size <= FRAME_SIZE_MAX && last < range_map_device_size(m));
	MUST(f.stored_offset + f.stored_size <= range_map_stored_size(m));
	MUST(range_map_find(m, f.offset) == i && range_map_find(m, last) == i);
	check_span(m, f.offset, 1);
	check_span(m, f.offset, f.size);
	check_span(m, f.offset, (uint64_t)f.size + 1);
	check_span(m, last, 2);
	check_span(m, last, UINT64_MAX - last + 1);
	check_span(m, last, UINT64_MAX);
}

static void check_map(const uint8_t *payload, size_t size, uint64_t frames_end)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_RANGE_MAP struct range_map *m = NULL;
	uint64_t stored = 0, offset = 0;
	struct digest d;

	digest_of(&d, DIGEST_SHA256, payload, size);
	m = range_map_new(xmemdup(payload, size), size, frames_end, UINT64_MAX, &d, &err);
	if (!m)
		return;
	for (uint32_t i = 0; i < range_map_n_frames(m); i++) {
		struct frame f = range_map_frame(m, i);

		MUST(f.stored_offset == stored && f.offset == offset);
		stored += f.stored_size;
		offset += f.size;
		check_frame(m, i);
	}
	MUST(stored == range_map_stored_size(m) && offset == range_map_device_size(m));
	check_span(m, offset, 0);
	check_span(m, offset, 1);
	check_span(m, offset + 1, 0);
}

static void fuzz_index(const uint8_t *data, size_t size, uint64_t frames_end)
{
	CLEANUP_FREE uint8_t *payload = xmemdup(data, size);
	struct chunk_index index;
	struct fault fault = { 0 };

	if (chunk_index_parse(&index, payload, size, frames_end, &fault) < 0) {
		MUST(fault.what && fault.offset <= size);
		return;
	}
	encode_again(&index, payload, size);
	check_map(payload, size, frames_end);
}

/* A good index would hardly be found: make one of frames' sizes, up to twice what is allowed. */
static void fuzz_frames(const uint8_t *data, size_t size)
{
	enum { EACH = 6 };
	uint32_t n = (uint32_t)(size / EACH);
	size_t len = (size_t)chunk_index_size(n);
	CLEANUP_FREE uint8_t *payload = xzalloc(len);
	uint64_t stored = 0, offset = 0;

	if (size < CHUNK_INDEX_HASH)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct chunk_entry e = { stored, offset, data };

		if (size - i * EACH >= CHUNK_INDEX_HASH)
			e.sha256 = data + i * EACH;
		chunk_index_put_entry(payload + chunk_index_size(i), &e);
		offset += get_le32(data + i * EACH) >> 7;
		stored += get_le16(data + i * EACH + 4);
	}
	chunk_index_put_header(payload, offset, n);
	fuzz_index(payload, len, stored);
}

static void fuzz_skippable(const uint8_t *data, size_t size)
{
	struct fault fault = { 0 };
	uint64_t payload;

	if (size < CHUNK_INDEX_SKIPPABLE)
		return;
	payload = size - CHUNK_INDEX_SKIPPABLE;
	if (chunk_index_get_skippable(data, payload, &fault) == 0)
		MUST(ZSTD_findFrameCompressedSize(data, size) == size);
}

/* What libzstd says of the content; SIZE_MAX: it refuses it. */
static size_t decompress(uint8_t *out, size_t cap, const uint8_t *frame, size_t len)
{
	size_t n = ZSTD_decompress(out, cap, frame, len);

	return ZSTD_isError(n) ? SIZE_MAX : n;
}

static void fuzz_frame(const uint8_t *data, size_t size, uint64_t offset)
{
	enum { CAP = 1 << 16 };
	CLEANUP_FREE uint8_t *frame = xmalloc(size + ZSTD_FRAME_ALIGN_MAX);
	CLEANUP_FREE uint8_t *before = xmalloc(CAP), *after = xmalloc(CAP);
	struct fault fault = { 0 };
	size_t len, n;

	memcpy(frame, data, size);
	len = zstd_frame_align(frame, size, offset, &fault);
	if (!len) {
		MUST(fault.what && fault.offset <= size && memcmp(frame, data, size) == 0);
		MUST(size < 4 || get_le32(data) != ZSTD_MAGICNUMBER ||
			ZSTD_findFrameCompressedSize(data, size) != size);
		return;
	}
	MUST(len >= size && len <= size + ZSTD_FRAME_ALIGN_MAX && (offset + len) % 4 == 0);
	n = decompress(before, CAP, data, size);
	MUST(decompress(after, CAP, frame, len) == n);
	if (n == SIZE_MAX)
		return;
	MUST(memcmp(before, after, n) == 0);
	MUST(ZSTD_findFrameCompressedSize(frame, len) == len);
}

/* The same for a frame that is good. */
static void fuzz_content(const uint8_t *data, size_t size, uint8_t choice)
{
	size_t cap = ZSTD_compressBound(size), len;
	CLEANUP_FREE uint8_t *frame = xmalloc(cap);
	ZSTD_CCtx *c = ZSTD_createCCtx();
	struct fault fault;

	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, choice >> 4);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, choice >> 2 & 1);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, choice >> 3 & 1);
	len = ZSTD_compress2(c, frame, cap, data, size);
	ZSTD_freeCCtx(c);
	MUST(!ZSTD_isError(len));
	fuzz_frame(frame, len, choice & 3);
	/* cut by a byte it is no frame */
	MUST(zstd_frame_align(frame, len - 1, 0, &fault) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t frames_end;

	if (size < 9)
		return 0;
	frames_end = get_le64(data + 1);
	fuzz_index(data + 9, size - 9, frames_end);
	fuzz_frames(data + 9, size - 9);
	fuzz_skippable(data + 9, size - 9);
	if (data[0] & 4)
		fuzz_frame(data + 9, size - 9, data[0]);
	else
		fuzz_content(data + 9, size - 9, data[1]);
	return 0;
}
