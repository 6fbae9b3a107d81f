/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Images' devices, and rules that cut them into frames; what frames.c measures. */
#ifndef BENCH_FRAMES_CUT_H
#define BENCH_FRAMES_CUT_H

#include <stddef.h>
#include <stdint.h>

#include "fmt/erofs.h"

enum { BLOCK = EROFS_BLOCK_SIZE, SLOTS_MAX = 128 };

struct device {
	const uint8_t *data; /* NULL: not given */
	uint64_t blocks;
	uint64_t *hashes; /* of the blocks */
	uint8_t *starts; /* for each block: 1 where a file begins */
	uint8_t *wanted; /* for each block: 1 when a wanted file has it */
};

struct image {
	struct device slots[SLOTS_MAX + 1]; /* from 1 on */
};

/* Paths of files, one a line, that the images opened from then on have as wanted. */
void read_wanted(const char *path);

/* BOOTSTRAP and SLOT:DEVICEs from argv[i] on; the index of the first argument that is neither. */
int open_image(struct image *image, char **argv, int i);

struct rule {
	const char *name;
	uint64_t min, max; /* blocks */
	uint64_t at_block, at_file; /* cut where the hash is below; 0: never */
	uint64_t lowest; /* the weight of a file's start; 0: no going back */
};

void parse_rule(struct rule *r, const char *s);

struct frames {
	uint64_t *ends; /* of each frame: the first block behind it */
	size_t n, cap;
};

/* The device's first block is a frame of its own. */
void cut_device(struct frames *f, const struct device *d, const struct rule *r);

_Noreturn void die(const char *what, const char *why);

#endif
