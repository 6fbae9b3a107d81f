/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * One layer on its way to the merge: its bytes are read and inflated, digested, taken apart
 * into entries and blocks, each step on a strand of its own, a batch at a time.
 */
#ifndef CONVERT_READER_H
#define CONVERT_READER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "lib/base/digest.h"
#include "lib/base/workers.h"
#include "lib/convert/batch.h"
#include "lib/stream/stream.h"

/* What the readers of a conversion share, and whom they tell. */
struct reader_ops {
	struct workers *workers;
	struct batch_pool *pool;
	const struct dedupe_secret *secret;
	/* A scanned batch, in the layer's order; to be released by batch_release(). */
	void (*scanned)(void *arg, struct batch *b);
	/* The layer has been read to its end (it may not be scanned yet). */
	void (*read_ended)(void *arg, struct reader *r);
	/* Is this the layer that is merged now? */
	bool (*urgent)(void *arg, const struct reader *r);
	/* Takes the error over. The reader goes on, without effect, until its stream ends. */
	void (*failed)(void *arg, struct reader *r, struct error *e);
	/* Has any reader failed, or the user had enough? */
	bool (*stopped)(void *arg);
	void *arg;
};

/*
 * `stream` yields the uncompressed tar (taken over); diff_id NULL: not verified. name is for
 * errors.
 */
struct reader *reader_new(const struct reader_ops *ops, size_t layer, const char *name,
	struct stream *stream, const struct digest *diff_id);

/* Start reading; all else follows on the workers. */
void reader_start(struct reader *r);

/* Wait for its stream no longer: it has stopped. */
void reader_nudge(struct reader *r);

size_t reader_layer(const struct reader *r);
const char *reader_name(const struct reader *r);

/* The digest of the uncompressed tar, after workers_wait(). */
const struct digest *reader_diff_id(const struct reader *r);

/* After workers_wait() and before workers_stop(): its stream may still wake it. NULL is allowed. */
void reader_free(struct reader *r);

#endif
