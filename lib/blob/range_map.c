// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/blob/range_map.h"

#include <inttypes.h>
#include <zstd.h>

#include "fmt/chunk_index.h"
#include "lib/base/mem.h"

/* Above compressBound: our encoder may add a few empty blocks, others a checksum. */
enum { STORED_SLACK = 64 };

struct range_map {
	uint8_t *payload; /* the entries are looked up where they lie */
	struct chunk_index index;
	uint64_t frames_end;
	uint32_t largest, largest_stored;
};

static int check_digest(
	const uint8_t *payload, size_t len, const struct digest *want, struct error **err)
{
	char want_str[DIGEST_MAX_STR], got_str[DIGEST_MAX_STR];
	struct digest got;

	digest_of(&got, DIGEST_SHA256, payload, len);
	if (digest_equal(&got, want))
		return 0;
	return error_set(err, 0, "the chunk index has the digest %s, expected %s",
		digest_format(&got, got_str), digest_format(want, want_str));
}

/* Where frame i begins; for i = n, where the last one ends. */
static uint64_t offset_at(const struct range_map *m, uint32_t i)
{
	return i < m->index.n ? chunk_index_entry(&m->index, i).offset : m->index.uncompressed_size;
}

static uint64_t stored_offset_at(const struct range_map *m, uint32_t i)
{
	return i < m->index.n ? chunk_index_entry(&m->index, i).stored_offset : m->frames_end;
}

/* The bounds are what makes a frame's sizes 32-bit numbers, and its memory small. */
static int check_frames(struct range_map *m, struct error **err)
{
	uint64_t offset = 0, stored = 0;

	for (uint32_t i = 0; i < m->index.n; i++) {
		uint64_t next = offset_at(m, i + 1), next_stored = stored_offset_at(m, i + 1);
		uint64_t size = next - offset, stored_size = next_stored - stored;

		if (size > FRAME_SIZE_MAX)
			return error_set(err, 0,
				"frame %" PRIu32 " has %" PRIu64 " bytes uncompressed; at most %d "
				"are read",
				i, size, FRAME_SIZE_MAX);
		if (stored_size > ZSTD_COMPRESSBOUND(size) + STORED_SLACK)
			return error_set(err, 0,
				"frame %" PRIu32 " has %" PRIu64
				" bytes as stored, more than its %" PRIu64 " bytes can take",
				i, stored_size, size);
		if (size > m->largest)
			m->largest = (uint32_t)size;
		if (stored_size > m->largest_stored)
			m->largest_stored = (uint32_t)stored_size;
		offset = next;
		stored = next_stored;
	}
	return 0;
}

/* The digest comes first: nothing is said of bytes that are not the image's. */
static int load(struct range_map *m, size_t len, uint64_t device_size, const struct digest *want,
	struct error **err)
{
	struct fault fault;

	if (len > RANGE_MAP_BYTES_MAX)
		return error_set(err, 0, "the chunk index has %zu bytes; at most %d are read", len,
			RANGE_MAP_BYTES_MAX);
	if (check_digest(m->payload, len, want, err) < 0)
		return -1;
	if (chunk_index_parse(&m->index, m->payload, len, m->frames_end, &fault) < 0)
		return error_set(
			err, 0, "%s (at byte %" PRIu64 " of the index)", fault.what, fault.offset);
	if (device_size != UINT64_MAX && m->index.uncompressed_size != device_size)
		return error_set(err, 0,
			"the chunk index is for %" PRIu64 " bytes, expected %" PRIu64,
			m->index.uncompressed_size, device_size);
	return check_frames(m, err);
}

struct range_map *range_map_new(uint8_t *payload, size_t len, uint64_t frames_end,
	uint64_t device_size, const struct digest *want, struct error **err)
{
	CLEANUP_RANGE_MAP struct range_map *m = xzalloc(sizeof(*m));

	m->payload = payload;
	m->frames_end = frames_end;
	if (load(m, len, device_size, want, err) < 0)
		return NULL;
	return take_ptr(m);
}

void range_map_free(struct range_map *m)
{
	if (!m)
		return;
	free(m->payload);
	free(m);
}

uint64_t range_map_device_size(const struct range_map *m)
{
	return m->index.uncompressed_size;
}

uint64_t range_map_stored_size(const struct range_map *m)
{
	return m->frames_end;
}

uint32_t range_map_n_frames(const struct range_map *m)
{
	return m->index.n;
}

uint32_t range_map_largest(const struct range_map *m)
{
	return m->largest;
}

uint32_t range_map_largest_stored(const struct range_map *m)
{
	return m->largest_stored;
}

struct frame range_map_frame(const struct range_map *m, uint32_t i)
{
	struct chunk_entry e = chunk_index_entry(&m->index, i);

	return (struct frame){
		.number = i,
		.stored_offset = e.stored_offset,
		.stored_size = (uint32_t)(stored_offset_at(m, i + 1) - e.stored_offset),
		.offset = e.offset,
		.size = (uint32_t)(offset_at(m, i + 1) - e.offset),
		.sha256 = e.sha256,
	};
}

/* The last frame that begins at `offset` or before; frame 0 begins at 0. */
uint32_t range_map_find(const struct range_map *m, uint64_t offset)
{
	uint32_t low = 0, high = m->index.n; /* begins at or before; begins behind */

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (offset_at(m, middle) <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

int range_map_span(const struct range_map *m, uint64_t offset, uint64_t len, uint32_t *first,
	uint32_t *end, struct error **err)
{
	uint64_t size = m->index.uncompressed_size;

	if (offset > size || len > size - offset)
		return error_set(err, 0,
			"%" PRIu64 " bytes at %" PRIu64 " go beyond the device's %" PRIu64, len,
			offset, size);
	*first = offset < size ? range_map_find(m, offset) : m->index.n;
	*end = len ? range_map_find(m, offset + len - 1) + 1 : *first;
	return 0;
}
