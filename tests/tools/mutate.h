/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Bootstraps with a few fields changed: the mutator knows where the fields of a sound image
 * are and which values are worth trying. The same seed gives the same mutants.
 */
#ifndef TESTS_TOOLS_MUTATE_H
#define TESTS_TOOLS_MUTATE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/bootstrap/read.h"

struct mutator;

/* Learn where everything is. The image is the one that `b` reads. */
struct mutator *mutator_new(const struct bootstrap *b, struct error **err);
void mutator_free(struct mutator *m);

enum { MUTATION_PARTS_MAX = 8 };

/* What was changed. */
struct mutation {
	struct mutation_part {
		uint64_t offset, len;
	} of[MUTATION_PARTS_MAX];
	size_t n;
	char text[512]; /* in words */
};

/* Change a copy of the image; the superblock's checksum is right afterwards. */
void mutate(const struct mutator *m, uint8_t *image, uint64_t *random, struct mutation *out);

#endif
