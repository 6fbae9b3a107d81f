// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/store/map.h"

#include <errno.h>
#include <string.h>

#include "fmt/le.h"
#include "lib/base/mem.h"
#include "lib/base/outfile.h"
#include "lib/store/io.h"

enum { PAGE = 4096, PAGE_WORDS = PAGE / 8 }; /* bits are written in such pieces */

static struct presence_digest digest_to_fmt(const struct digest *d)
{
	struct presence_digest out = { .algo = d->algo == DIGEST_SHA512 ? PRESENCE_SHA512
									: PRESENCE_SHA256 };

	memcpy(out.bytes, d->bytes, digest_size(d->algo));
	return out;
}

struct presence_map map_of_spec(const struct store_spec *spec)
{
	return (struct presence_map){
		.digest = digest_to_fmt(&spec->digest),
		.index = digest_to_fmt(&spec->index),
		.size = spec->size,
		.n_frames = spec->n_frames,
	};
}

map_fault map_read_header(int fd, struct presence_map *m)
{
	uint8_t header[PRESENCE_MAP_HEADER];
	struct fault fault = { 0 };
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return "its map is no file";
	if (io_read(fd, header, sizeof(header), 0) < 0)
		return "its map cannot be read";
	return presence_map_get(m, header, (uint64_t)st.st_size, &fault) < 0 ? fault.what : NULL;
}

static bool same_digest(const struct presence_digest *a, const struct presence_digest *b)
{
	return a->algo == b->algo && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

map_fault map_check_header(int fd, const struct presence_map *want)
{
	struct presence_map m = { 0 };
	map_fault fault = map_read_header(fd, &m);

	if (fault)
		return fault;
	if (!same_digest(&m.digest, &want->digest))
		return "its map is another blob's";
	if (!same_digest(&m.index, &want->index))
		return "it was made with another chunk index";
	if (m.size != want->size)
		return "it was made for a device of another size";
	if (m.n_frames != want->n_frames)
		return "it was made with another number of frames";
	return NULL;
}

size_t map_words(uint32_t n_frames)
{
	return ((size_t)n_frames + 63) / 64;
}

map_fault map_read_bits(int fd, uint32_t n_frames, uint64_t *bits, uint32_t *present)
{
	size_t n_words = map_words(n_frames);
	struct fault fault = { 0 };

	if (n_words)
		bits[n_words - 1] = 0; /* the bytes of it that the map has not */
	if (io_read(fd, bits, presence_map_bits_size(n_frames), PRESENCE_MAP_BITS) < 0)
		return "its map cannot be read";
	if (presence_map_count((uint8_t *)bits, n_frames, present, &fault) < 0)
		return fault.what;
	for (size_t i = 0; i < n_words; i++)
		bits[i] = le64toh(bits[i]);
	return NULL;
}

int map_write_bits(int fd, uint32_t n_frames, const uint64_t *bits, const uint64_t *old)
{
	size_t n_words = map_words(n_frames), size = presence_map_bits_size(n_frames);

	for (size_t first = 0; first < n_words; first += PAGE_WORDS) {
		size_t n = n_words - first < PAGE_WORDS ? n_words - first : PAGE_WORDS;
		size_t at = first * 8, len = size - at < PAGE ? size - at : PAGE;
		uint64_t page[PAGE_WORDS];

		if (memcmp(bits + first, old + first, n * 8) == 0)
			continue;
		for (size_t i = 0; i < n; i++)
			page[i] = htole64(bits[first + i]);
		if (io_write(fd, page, len, PRESENCE_MAP_BITS + at) < 0)
			return -1;
	}
	return 0;
}

/*
 * The bits are written as zeros, not left as a hole: blocks that a filesystem allots later may show
 * old bytes after a crash where it does not order data before metadata.
 */
int map_create(struct store *s, const char *stem, const struct presence_map *m, struct error **err)
{
	static const uint8_t zeros[1 << 16];
	CLEANUP_FREE char *dir = xasprintf("%s/blobs", s->dir);
	CLEANUP_OUTFILE struct outfile *o = outfile_new(dir, err);
	uint8_t header[PRESENCE_MAP_HEADER];
	uint64_t end = presence_map_file_size(m->n_frames);
	char name[STORE_NAME_MAX];

	presence_map_put(header, m);
	if (!o || outfile_pwrite(o, header, sizeof(header), 0, err) < 0)
		return -1;
	for (uint64_t at = sizeof(header); at < end; at += sizeof(zeros)) {
		size_t n = end - at < sizeof(zeros) ? (size_t)(end - at) : sizeof(zeros);

		if (outfile_pwrite(o, zeros, n, at, err) < 0)
			return -1;
	}
	if (fchmod(outfile_fd(o), 0600) < 0)
		return error_set(err, errno, "cannot make a file in %s", dir);
	return outfile_publish(o, dir, store_name(stem, STORE_MAP, name), true, err);
}

int map_write_claim(int fd, uint64_t claim)
{
	uint8_t bytes[8];

	put_le64(bytes, claim);
	return io_write(fd, bytes, sizeof(bytes), PRESENCE_MAP_RESERVATION);
}

uint64_t map_read_claim(int fd)
{
	uint8_t bytes[8];

	return io_read(fd, bytes, sizeof(bytes), PRESENCE_MAP_RESERVATION) < 0 ? 0
									       : get_le64(bytes);
}
