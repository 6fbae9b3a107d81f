/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A presence map on the disk. Its bytes are fmt/presence_map.h's. */
#ifndef STORE_MAP_H
#define STORE_MAP_H

#include "fmt/presence_map.h"
#include "lib/store/dir.h"

struct presence_map map_of_spec(const struct store_spec *spec);

/* Why a map or cache cannot be used, as a literal; NULL: it can. */
typedef const char *map_fault;

/* Does the header of the map in `fd` say what `want` does? */
map_fault map_check_header(int fd, const struct presence_map *want);

/* Read any map's header. */
map_fault map_read_header(int fd, struct presence_map *m);

/*
 * Read the bits into `bits`, whose size is map_words() words, host order: frame i is bit i % 64 of
 * word i / 64. How many there are.
 */
map_fault map_read_bits(int fd, uint32_t n_frames, uint64_t *bits, uint32_t *present);
size_t map_words(uint32_t n_frames);

/*
 * Write those parts of `bits` that differ from `old`. Bits are only ever added. -1 with errno.
 */
int map_write_bits(int fd, uint32_t n_frames, const uint64_t *bits, const uint64_t *old);

/* Make the map of a blob, without bits, in the place of what is there. */
int map_create(struct store *s, const char *stem, const struct presence_map *m, struct error **err);

/* What the filler says that the cache may grow to, in bytes on the disk; -1 with errno. */
int map_write_claim(int fd, uint64_t claim);
uint64_t map_read_claim(int fd); /* 0 also when it cannot be read */

#endif
