// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/presence_map.h"

#include <isa-l/crc.h>
#include <stdbool.h>
#include <string.h>

#include "fmt/le.h"

static const uint8_t magic[8] = { 'E', 'C', 'F', 'R', 'A', 'M', 'E', 'S' };

enum {
	MAP_VERSION = 1,
	AT_VERSION = 8,
	AT_N_FRAMES = 12,
	AT_SIZE = 16,
	AT_DIGEST_ALGO = 24,
	AT_INDEX_ALGO = 28,
	AT_DIGEST = 32,
	AT_INDEX = AT_DIGEST + PRESENCE_MAP_DIGEST_MAX,
	AT_RESERVED = AT_INDEX + PRESENCE_MAP_DIGEST_MAX,
	AT_CHECKSUM = PRESENCE_MAP_HEADER - 4, /* CRC-32C of all before it */
};

static int refuse(struct fault *fault, const char *what, uint64_t offset)
{
	*fault = (struct fault){ what, offset };
	return -1;
}

size_t presence_map_bits_size(uint32_t n_frames)
{
	return ((size_t)n_frames + 7) / 8;
}

uint64_t presence_map_file_size(uint32_t n_frames)
{
	return PRESENCE_MAP_BITS + (uint64_t)presence_map_bits_size(n_frames);
}

int presence_map_check(const struct presence_map *m, struct fault *fault)
{
	if (m->n_frames > PRESENCE_MAP_FRAMES_MAX)
		return refuse(fault, "it has too many frames", AT_N_FRAMES);
	if (m->size > INT64_MAX)
		return refuse(fault, "its size is too large", AT_SIZE);
	if (m->n_frames > m->size)
		return refuse(fault, "it has more frames than bytes", AT_N_FRAMES);
	if (m->size && !m->n_frames)
		return refuse(fault, "it has bytes but no frames", AT_N_FRAMES);
	return 0;
}

static uint32_t checksum(const uint8_t *header)
{
	return crc32_iscsi((unsigned char *)header, AT_CHECKSUM, UINT32_MAX);
}

void presence_map_put(uint8_t out[static PRESENCE_MAP_HEADER], const struct presence_map *m)
{
	memset(out, 0, PRESENCE_MAP_HEADER);
	memcpy(out, magic, sizeof(magic));
	put_le32(out + AT_VERSION, MAP_VERSION);
	put_le32(out + AT_N_FRAMES, m->n_frames);
	put_le64(out + AT_SIZE, m->size);
	put_le32(out + AT_DIGEST_ALGO, m->digest.algo);
	put_le32(out + AT_INDEX_ALGO, m->index.algo);
	memcpy(out + AT_DIGEST, m->digest.bytes, sizeof(m->digest.bytes));
	memcpy(out + AT_INDEX, m->index.bytes, sizeof(m->index.bytes));
	put_le32(out + AT_CHECKSUM, checksum(out));
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static int get_digest(struct presence_digest *d, const uint8_t *header, size_t at_algo, size_t at,
	struct fault *fault)
{
	uint32_t algo = get_le32(header + at_algo);

	if (algo != PRESENCE_SHA256 && algo != PRESENCE_SHA512)
		return refuse(fault, "a digest's algorithm is unknown", at_algo);
	if (algo == PRESENCE_SHA256 && !is_zero(header + at + 32, 32))
		return refuse(fault, "a digest is too long", at + 32);
	d->algo = (enum presence_algo)algo;
	memcpy(d->bytes, header + at, sizeof(d->bytes));
	return 0;
}

int presence_map_get(struct presence_map *m, const uint8_t in[static PRESENCE_MAP_HEADER],
	uint64_t file_size, struct fault *fault)
{
	if (memcmp(in, magic, sizeof(magic)) != 0)
		return refuse(fault, "it is no presence map", 0);
	if (get_le32(in + AT_VERSION) != MAP_VERSION)
		return refuse(fault, "the map's version is unknown", AT_VERSION);
	if (get_le32(in + AT_CHECKSUM) != checksum(in))
		return refuse(fault, "the map's header checksum is wrong", AT_CHECKSUM);
	if (!is_zero(in + AT_RESERVED, AT_CHECKSUM - AT_RESERVED))
		return refuse(fault, "reserved bytes of the map's header are not 0", AT_RESERVED);
	if (get_digest(&m->digest, in, AT_DIGEST_ALGO, AT_DIGEST, fault) < 0 ||
		get_digest(&m->index, in, AT_INDEX_ALGO, AT_INDEX, fault) < 0)
		return -1;
	m->n_frames = get_le32(in + AT_N_FRAMES);
	m->size = get_le64(in + AT_SIZE);
	if (presence_map_check(m, fault) < 0)
		return -1;
	if (file_size != presence_map_file_size(m->n_frames))
		return refuse(fault, "the map's file has another size than its header asks for",
			AT_N_FRAMES);
	return 0;
}

int presence_map_count(
	const uint8_t *bits, uint32_t n_frames, uint32_t *present, struct fault *fault)
{
	size_t size = presence_map_bits_size(n_frames);
	uint32_t n = 0;

	if (n_frames % 8 && bits[size - 1] >> n_frames % 8)
		return refuse(fault, "the map has bits for frames that there are not",
			PRESENCE_MAP_BITS + size - 1);
	for (size_t i = 0; i < size; i++)
		n += (uint32_t)__builtin_popcount(bits[i]);
	*present = n;
	return 0;
}
