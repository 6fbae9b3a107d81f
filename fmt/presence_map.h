/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The file that says which frames of a blob are in the node's store: a header that never changes,
 * a note of its filler's, and a bit for each frame. docs/format/store.md has the bytes.
 */
#ifndef FMT_PRESENCE_MAP_H
#define FMT_PRESENCE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "fmt/fault.h"

enum {
	PRESENCE_MAP_HEADER = 4096, /* bytes; a block of its own, so that no write tears it */
	PRESENCE_MAP_RESERVATION = 4096, /* where a u64 is: what the filler has reserved */
	PRESENCE_MAP_BITS = 8192, /* where they begin; frame i is bit i % 8 of byte i / 8 */
	PRESENCE_MAP_FRAMES_MAX = 1 << 26,
	PRESENCE_MAP_DIGEST_MAX = 64,
};

enum presence_algo { PRESENCE_SHA256 = 1, PRESENCE_SHA512 = 2 };

struct presence_digest {
	enum presence_algo algo;
	uint8_t bytes[PRESENCE_MAP_DIGEST_MAX]; /* those behind SHA-256's 32 are 0 */
};

struct presence_map {
	struct presence_digest digest; /* of the blob as stored in the registry */
	struct presence_digest index; /* of its chunk index, or again the blob's */
	uint64_t size; /* of the device, bytes; less than 2^63 */
	uint32_t n_frames; /* at most PRESENCE_MAP_FRAMES_MAX, and size; 0 only of 0 bytes */
};

/* Bytes of the bits, and of the whole file. */
size_t presence_map_bits_size(uint32_t n_frames);
uint64_t presence_map_file_size(uint32_t n_frames);

/* Are size and number of frames what a map can describe? 0, or -1 with the fault. */
int presence_map_check(const struct presence_map *m, struct fault *fault);

/* Encode the header. */
void presence_map_put(uint8_t out[static PRESENCE_MAP_HEADER], const struct presence_map *m);

/*
 * Decode and validate the header of a file of `file_size` bytes, which must be the size that its
 * number of frames asks for. 0, or -1 with the fault.
 */
int presence_map_get(struct presence_map *m, const uint8_t in[static PRESENCE_MAP_HEADER],
	uint64_t file_size, struct fault *fault);

/*
 * Validate the bits (presence_map_bits_size() bytes): those behind the last frame are 0; count the
 * others. 0, or -1 with the fault.
 */
int presence_map_count(
	const uint8_t *bits, uint32_t n_frames, uint32_t *present, struct fault *fault);

#endif
