/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * An array of fixed-size elements that grows by segments: elements never move, and growing
 * never holds two copies, as doubling would. Elements are known by u32 numbers from 1 on; 0 is
 * nobody.
 */
#ifndef BASE_SEGARRAY_H
#define BASE_SEGARRAY_H

#include <stdint.h>
#include <string.h>

#include "lib/base/error.h"
#include "lib/base/mem.h"

#define SEGARRAY_SHIFT 12u /* 4096 elements a segment */
#define SEGARRAY_MASK  ((1u << SEGARRAY_SHIFT) - 1)

struct segarray {
	size_t element_size;
	uint8_t **segments;
	size_t n_segments, cap;
	uint32_t count; /* the highest number given out */
};

static inline void segarray_init(struct segarray *a, size_t element_size)
{
	*a = (struct segarray){ .element_size = element_size };
}

/* The element with number id, 1 to count. */
static inline void *segarray_at(const struct segarray *a, uint32_t id)
{
	return a->segments[id >> SEGARRAY_SHIFT] + (id & SEGARRAY_MASK) * a->element_size;
}

/* A new element, zeroed; its number, or 0 when 2^32 - 2 are in use. */
static inline uint32_t segarray_add(struct segarray *a)
{
	uint32_t id = a->count + 1;

	if (id == UINT32_MAX)
		return 0;
	if (id >> SEGARRAY_SHIFT >= a->n_segments) {
		a->segments = xgrow(a->segments, a->n_segments, &a->cap, sizeof(*a->segments));
		a->segments[a->n_segments++] = xcalloc(SEGARRAY_MASK + 1, a->element_size);
	}
	a->count = id;
	return id;
}

static inline void segarray_free(struct segarray *a)
{
	for (size_t i = 0; i < a->n_segments; i++)
		free(a->segments[i]);
	free(a->segments);
	*a = (struct segarray){ 0 };
}

#endif
