/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The chunk index of a compressed blob, and the skippable zstd frame that carries it (draft
 * specification of EROFS image layers, "Chunk index"; RFC 8878, 3.1.2).
 */
#ifndef FMT_CHUNK_INDEX_H
#define FMT_CHUNK_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "fmt/fault.h"

enum {
	CHUNK_INDEX_HEADER = 32, /* bytes */
	CHUNK_INDEX_HASH = 32, /* SHA-256 */
	CHUNK_INDEX_ENTRY = 16 + CHUNK_INDEX_HASH,
	CHUNK_INDEX_SKIPPABLE = 8, /* the skippable frame's own header, before the payload */
	CHUNK_INDEX_ALIGN = 4, /* of that frame's offset in the blob */
};

/* One frame: its bytes as stored run to the next entry's, the last one's to the index's frame. */
struct chunk_entry {
	uint64_t stored_offset; /* bytes in the blob */
	uint64_t offset; /* bytes in the uncompressed stream */
	const uint8_t *sha256; /* of the bytes as stored; lies in the payload */
};

/* A payload that has been found good; it points into the caller's bytes. */
struct chunk_index {
	uint64_t uncompressed_size;
	uint32_t n;
	const uint8_t *entries;
};

/* Bytes of the payload (header and entries) for n frames. */
uint64_t chunk_index_size(uint32_t n);

/* Encode: zstd, SHA-256. */
void chunk_index_put_skippable(uint8_t out[static CHUNK_INDEX_SKIPPABLE], uint32_t payload_size);
void chunk_index_put_header(
	uint8_t out[static CHUNK_INDEX_HEADER], uint64_t uncompressed_size, uint32_t n);
void chunk_index_put_entry(uint8_t out[static CHUNK_INDEX_ENTRY], const struct chunk_entry *e);

/*
 * Decode the skippable frame's header: any of its 16 magic numbers. Its payload must have
 * `payload_size` bytes. 0, or -1 with the fault.
 */
int chunk_index_get_skippable(
	const uint8_t in[static CHUNK_INDEX_SKIPPABLE], uint64_t payload_size, struct fault *fault);

/*
 * Decode and validate all of a payload: version, reserved bytes, sizes, zstd and SHA-256; the
 * offsets begin at 0 and rise strictly, the stored ones below frames_end (where the skippable
 * frame begins), the others below the uncompressed size. A stream of 0 bytes has 0 entries. `index`
 * points into `payload`. 0, or -1 with the fault.
 */
int chunk_index_parse(struct chunk_index *index, const uint8_t *payload, size_t len,
	uint64_t frames_end, struct fault *fault);

/* Entry i of a good index; i < n. */
struct chunk_entry chunk_index_entry(const struct chunk_index *index, uint32_t i);

#endif
