/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A blob as convert writes it. */
#ifndef TESTS_UNIT_ENGINE_SAMPLE_H
#define TESTS_UNIT_ENGINE_SAMPLE_H

#include <unistd.h>

#include "fmt/chunk_index.h"
#include "fmt/erofs.h"
#include "lib/base/mem.h"
#include "lib/blob/range_map.h"
#include "lib/blob/writer.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"

enum { BLOCK = 4096, FRAME = 4 * BLOCK };

struct sample {
	struct blob_result result;
	uint8_t *stored, *content;
	size_t size; /* of the device */
	struct range_map *map; /* the test's own */
};

struct writing {
	struct job job;
	struct sample *sample;
	struct blob_flow *flow;
	struct blob_writer *writer;
	struct outfile *file;
	unsigned blocks;
	uint64_t seed;
};

static inline void write_failed(void *arg, struct error *e)
{
	printf("Bail out! %s\n", e->msg);
	exit(99);
}

static inline void write_blocks(struct job *job)
{
	struct writing *w = (struct writing *)job;
	uint8_t *block = w->sample->content;

	w->writer = blob_writer_new(w->flow, w->file, true, 0);
	erofs_empty_image(block);
	for (unsigned i = 0; i < w->blocks; i++) {
		block += BLOCK;
		for (size_t at = 0; at < BLOCK; at += 8) {
			uint64_t v = random_u64(&w->seed);

			memcpy(block + at, &v, 8);
		}
		blob_writer_append(w->writer, block, BLOCK);
	}
	blob_writer_finish(w->writer);
}

static inline struct range_map *sample_map(const struct sample *s)
{
	CLEANUP_ERROR struct error *err = NULL;
	const struct blob_result *r = &s->result;
	size_t len = r->index_end - r->index_offset - CHUNK_INDEX_SKIPPABLE;
	const uint8_t *at = s->stored + r->index_offset + CHUNK_INDEX_SKIPPABLE;
	struct range_map *m = range_map_new(
		xmemdup(at, len), len, r->index_offset, s->size, &r->index_digest, &err);

	if (!m) {
		printf("Bail out! %s\n", err->msg);
		exit(99);
	}
	return m;
}

/* Random bytes: as stored, frames are as large as they are, 16 KiB and a little. */
static inline struct sample sample_make(const char *dir, unsigned blocks, uint64_t seed)
{
	const struct blob_format format = { .zstd = true, .level = 1, .frame_size = FRAME };
	struct sample s = { .size = (blocks + 1) * (size_t)BLOCK };
	struct writing w = { { .run = write_blocks }, .sample = &s, .blocks = blocks,
		.seed = seed };
	struct error *err = NULL;
	struct strand feeder;
	struct blob_flow_ops ops = { .feeder = &feeder, .failed = write_failed };

	s.content = xcalloc(blocks + 1, BLOCK);
	ops.workers = workers_start(1, &err);
	strand_init(&feeder, ops.workers, 0);
	w.flow = blob_flow_new(&ops, &format, 4);
	w.file = outfile_new(dir, &err);
	strand_post(&feeder, &w.job);
	workers_wait(ops.workers);
	w.file = blob_writer_take(w.writer, &s.result);
	s.stored = xmalloc(s.result.size);
	CHECK_U64((uint64_t)pread(outfile_fd(w.file), s.stored, s.result.size, 0), s.result.size);
	outfile_free(w.file);
	blob_writer_free(w.writer);
	blob_flow_free(w.flow);
	workers_stop(ops.workers);
	s.map = sample_map(&s);
	return s;
}

static inline void sample_free(struct sample *s)
{
	range_map_free(s->map);
	free(s->stored);
	free(s->content);
}

#endif
