// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Any bytes as a presence map. The first byte chooses whether the checksum is made right, without
 * which no header passes.
 */
#include "config.h"

#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>

#include "fmt/le.h"
#include "fmt/presence_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

/* A header that was taken is the one that its values make. */
static void check_header(const struct presence_map *m, const uint8_t *header, uint64_t size)
{
	uint8_t again[PRESENCE_MAP_HEADER];
	struct fault fault = { 0 };

	MUST(m->n_frames <= PRESENCE_MAP_FRAMES_MAX && m->size <= INT64_MAX);
	MUST(m->n_frames <= m->size && (m->n_frames || !m->size));
	MUST(presence_map_file_size(m->n_frames) == size);
	MUST(presence_map_check(m, &fault) == 0);
	presence_map_put(again, m);
	MUST(memcmp(again, header, sizeof(again)) == 0);
}

static void check_bits(const uint8_t *bits, uint32_t n_frames)
{
	uint32_t present = 0, n = 0, behind = 0;
	struct fault fault = { 0 };
	int rc = presence_map_count(bits, n_frames, &present, &fault);

	for (uint32_t i = 0; i < presence_map_bits_size(n_frames) * 8; i++) {
		n += i < n_frames && (bits[i / 8] >> i % 8 & 1);
		behind += i >= n_frames && (bits[i / 8] >> i % 8 & 1);
	}
	MUST((rc < 0) == (behind > 0) && (rc == 0 || fault.what));
	MUST(rc < 0 || present == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t header[PRESENCE_MAP_HEADER] = { 0 };
	struct presence_map m = { 0 };
	struct fault fault = { 0 };
	const uint8_t *bits;
	size_t n_bits;
	uint64_t file_size;
	int rc;

	if (size < 11)
		return 0;
	memcpy(header, data + 11, size - 11 < sizeof(header) ? size - 11 : sizeof(header));
	bits = data + 1;
	n_bits = 8 * (size - 1 < 1000 ? size - 1 : 1000);
	check_bits(bits, (uint32_t)(n_bits - data[0] % 8));
	if (data[0] & 0x80) {
		memcpy(header, "ECFRAMES", 8);
		put_le32(header + 8, 1);
		put_le32(header + sizeof(header) - 4,
			crc32_iscsi(header, sizeof(header) - 4, UINT32_MAX));
	}
	/* the size that it asks for, or any */
	file_size =
		data[0] & 0x40 ? presence_map_file_size(get_le32(header + 12)) : get_le64(data + 1);
	rc = presence_map_get(&m, header, file_size, &fault);
	MUST((rc < 0) == (fault.what != NULL));
	if (rc == 0)
		check_header(&m, header, file_size);
	return 0;
}
