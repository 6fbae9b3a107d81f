/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Where the layers become one: strictly in order, whatever the readers' timing, entries change
 * the tree and blocks find their places. That makes the result a function of the input.
 */
#ifndef CONVERT_MERGE_H
#define CONVERT_MERGE_H

#include "lib/base/outfile.h"
#include "lib/blob/writer.h"
#include "lib/convert/batch.h"
#include "lib/convert/place.h"
#include "lib/convert/reader.h"
#include "lib/tree/tree.h"

/* A data blob that the merge has begun. */
struct merge_blob {
	struct blob_writer *writer; /* the merge's */
	size_t layer; /* which layer's new data it holds */
};

struct merge_ops {
	struct workers *workers;
	struct batch_pool *pool;
	/* An unnamed file for a blob. */
	struct outfile *(*new_file)(void *arg, struct error **err);
	/* The merge has come to this layer: its reader may take the last batches. */
	void (*layer_begun)(void *arg, size_t layer);
	/* Blob `device`, from 0, is complete: blob_writer_take() it. On some worker. */
	void (*blob_finished)(void *arg, struct blob_writer *w, unsigned device);
	/* Takes the error over. */
	void (*failed)(void *arg, struct reader *r, struct error *e);
	bool (*stopped)(void *arg);
	void *arg;
};

struct merge;

struct merge *merge_new(const struct merge_ops *ops, struct tree *tree,
	const struct dedupe_secret *secret, size_t n_layers, const struct place_rules *rules,
	const struct blob_format *format, unsigned max_frames);

/* A scanned batch of any layer; each layer's in order. On any worker. */
void merge_take(struct merge *m, struct batch *b);

/* The blobs, in device order, after workers_wait(). */
const struct merge_blob *merge_blobs(const struct merge *m, size_t *n);

/* Has every layer been merged to its end? After workers_wait(). */
bool merge_is_complete(const struct merge *m);

/* Uncompressed bytes merged so far, for progress. On any thread. */
uint64_t merge_bytes(const struct merge *m);

/* After workers_wait(). NULL is allowed. */
void merge_free(struct merge *m);

#endif
