/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The unit of work of a conversion: a piece of a layer's uncompressed tar, with what was found
 * in it. A fixed number of them bounds the memory of everything that is read ahead.
 */
#ifndef CONVERT_BATCH_H
#define CONVERT_BATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fmt/entry.h"
#include "lib/base/workers.h"
#include "lib/dedupe/index.h"

enum { BATCH_SIZE = 128 * 1024 };

enum event_type {
	EVENT_ENTRY, /* entry */
	EVENT_BLOCK, /* data, len, key: the file's next block */
	EVENT_ZEROS, /* a block of zeros that the layer spells out */
	EVENT_HOLES, /* n_blk */
	EVENT_FILE_END,
};

struct event {
	uint8_t type;
	uint16_t len; /* of data: 1 to 4096 */
	union {
		struct entry *entry; /* a deep copy, freed by whoever takes the event */
		uint64_t n_blk;
		struct {
			const uint8_t *data; /* in the batch's bytes, or one of its pages */
			struct block_key key;
		};
	};
};

struct reader;
struct merge;

struct batch {
	struct job digest_job, scan_job, merge_job;
	struct batch *next;
	struct reader *reader;
	struct merge *merge;
	atomic_int users; /* the digest and the merge: the last one gives it back */
	bool last; /* of its layer */
	size_t fill;
	struct event *events;
	size_t n_events, events_cap;
	size_t next_event; /* that the merge has to take */
	uint8_t **pages; /* blocks that do not lie in one piece in bytes */
	size_t n_pages, pages_cap;
	uint8_t bytes[BATCH_SIZE];
};

/* All batches of a conversion, and the readers that wait for one. */
struct batch_pool;

struct batch_pool *batch_pool_new(unsigned n);
void batch_pool_free(struct batch_pool *pool);

/*
 * A batch for the reader, or NULL: then `wait` is posted to `strand` once there may be one.
 * `urgent` readers (of the layer that is merged now) may take the last; the others leave a
 * quarter, so that the layer all wait for never starves.
 */
struct batch *batch_take(
	struct batch_pool *pool, bool urgent, struct strand *strand, struct job *wait);

/* One user less; the last one gives the batch back to the pool. */
void batch_release(struct batch_pool *pool, struct batch *b);

/* What may be urgent has changed: those who wait are to ask again. */
void batch_pool_nudge(struct batch_pool *pool);

/* A new event in the batch; valid until the next call. */
struct event *batch_add_event(struct batch *b, enum event_type type);

/* A page of 4096 bytes that lives as long as the batch's events. */
uint8_t *batch_add_page(struct batch *b);

struct entry *entry_copy(const struct entry *e);

#endif
