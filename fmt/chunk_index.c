// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/chunk_index.h"

#include <stdbool.h>

#include "fmt/le.h"

#define MAGIC	       0x67ece4cdu /* CD E4 EC 67 in the file */
#define SKIPPABLE      0x184d2a50u /* and the 15 that follow */
#define SKIPPABLE_MASK 0xfffffff0u
enum { INDEX_VERSION = 1, COMPRESSION_ZSTD = 1, HASH_SHA2 = 1 };

/* Where the header's fields are, in bytes. */
enum {
	AT_VERSION = 4,
	AT_COMPRESSION = 5,
	AT_FLAGS = 6,
	AT_SIZE = 8,
	AT_ENTRIES = 16,
	AT_HASH = 20,
	AT_HASH_SIZE = 21,
	AT_RESERVED = 22,
};

static int refuse(struct fault *fault, const char *what, uint64_t offset)
{
	*fault = (struct fault){ .what = what, .offset = offset };
	return -1;
}

uint64_t chunk_index_size(uint32_t n)
{
	return CHUNK_INDEX_HEADER + (uint64_t)n * CHUNK_INDEX_ENTRY;
}

void chunk_index_put_skippable(uint8_t out[static CHUNK_INDEX_SKIPPABLE], uint32_t payload_size)
{
	put_le32(out, SKIPPABLE);
	put_le32(out + 4, payload_size);
}

void chunk_index_put_header(
	uint8_t out[static CHUNK_INDEX_HEADER], uint64_t uncompressed_size, uint32_t n)
{
	memset(out, 0, CHUNK_INDEX_HEADER);
	put_le32(out, MAGIC);
	out[AT_VERSION] = INDEX_VERSION;
	out[AT_COMPRESSION] = COMPRESSION_ZSTD;
	put_le64(out + AT_SIZE, uncompressed_size);
	put_le32(out + AT_ENTRIES, n);
	out[AT_HASH] = HASH_SHA2;
	out[AT_HASH_SIZE] = CHUNK_INDEX_HASH;
}

void chunk_index_put_entry(uint8_t out[static CHUNK_INDEX_ENTRY], const struct chunk_entry *e)
{
	put_le64(out, e->stored_offset);
	put_le64(out + 8, e->offset);
	memcpy(out + 16, e->sha256, CHUNK_INDEX_HASH);
}

int chunk_index_get_skippable(
	const uint8_t in[static CHUNK_INDEX_SKIPPABLE], uint64_t payload_size, struct fault *fault)
{
	if ((get_le32(in) & SKIPPABLE_MASK) != SKIPPABLE)
		return refuse(fault, "no skippable zstd frame is there", 0);
	if (get_le32(in + 4) != payload_size)
		return refuse(fault, "the skippable frame has a wrong length", 4);
	return 0;
}

static int check_header(const uint8_t *p, struct fault *fault)
{
	if (get_le32(p) != MAGIC)
		return refuse(fault, "chunk index has a wrong magic number", 0);
	if (p[AT_VERSION] != INDEX_VERSION)
		return refuse(fault, "chunk index has an unknown version", AT_VERSION);
	if (p[AT_COMPRESSION] != COMPRESSION_ZSTD)
		return refuse(fault, "chunk index is not one of zstd frames", AT_COMPRESSION);
	if (get_le16(p + AT_FLAGS))
		return refuse(fault, "chunk index has unknown flags", AT_FLAGS);
	if (p[AT_HASH] != HASH_SHA2)
		return refuse(fault, "chunk index has no SHA-2 digests", AT_HASH);
	if (p[AT_HASH_SIZE] != CHUNK_INDEX_HASH)
		return refuse(fault, "chunk index has digests of another size than 32 bytes",
			AT_HASH_SIZE);
	for (unsigned at = AT_RESERVED; at < CHUNK_INDEX_HEADER; at++)
		if (p[at])
			return refuse(fault, "a reserved byte of the chunk index is not zero", at);
	return 0;
}

/* The first of both offsets is 0; later ones are above the last and below the end. */
static bool follows(uint64_t at, uint64_t last, uint64_t end, bool is_first)
{
	return at < end && (is_first ? at == 0 : at > last);
}

static int check_entries(const struct chunk_index *index, uint64_t frames_end, struct fault *fault)
{
	const uint8_t *p = index->entries;
	uint64_t stored = 0, offset = 0, at = CHUNK_INDEX_HEADER;

	for (uint32_t i = 0; i < index->n; i++) {
		uint64_t next_stored = get_le64(p), next_offset = get_le64(p + 8);

		if (!follows(next_stored, stored, frames_end, i == 0))
			return refuse(fault, "chunk index has a wrong stored offset", at);
		if (!follows(next_offset, offset, index->uncompressed_size, i == 0))
			return refuse(fault, "chunk index has a wrong uncompressed offset", at + 8);
		stored = next_stored;
		offset = next_offset;
		p += CHUNK_INDEX_ENTRY;
		at += CHUNK_INDEX_ENTRY;
	}
	return 0;
}

int chunk_index_parse(struct chunk_index *index, const uint8_t *payload, size_t len,
	uint64_t frames_end, struct fault *fault)
{
	if (len < CHUNK_INDEX_HEADER)
		return refuse(fault, "chunk index is cut off", len);
	if (check_header(payload, fault) < 0)
		return -1;
	*index = (struct chunk_index){
		.uncompressed_size = get_le64(payload + AT_SIZE),
		.n = get_le32(payload + AT_ENTRIES),
		.entries = payload + CHUNK_INDEX_HEADER,
	};
	if (chunk_index_size(index->n) != len)
		return refuse(fault, "chunk index has a wrong number of entries", AT_ENTRIES);
	if (!index->n && index->uncompressed_size)
		return refuse(fault, "chunk index has data but no entries", AT_SIZE);
	if (!index->n && frames_end)
		return refuse(
			fault, "chunk index has no entries for the bytes before it", AT_ENTRIES);
	return check_entries(index, frames_end, fault);
}

struct chunk_entry chunk_index_entry(const struct chunk_index *index, uint32_t i)
{
	const uint8_t *p = index->entries + (size_t)i * CHUNK_INDEX_ENTRY;

	return (struct chunk_entry){
		.stored_offset = get_le64(p),
		.offset = get_le64(p + 8),
		.sha256 = p + 16,
	};
}
