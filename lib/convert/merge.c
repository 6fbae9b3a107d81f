// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/convert/merge.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/tree/apply.h"

enum { PRIORITY_MERGE = 3 };
enum { MERGE_DONE, MERGE_LATER };

/* Batches of a layer whose turn has not come. */
struct queue {
	struct batch *first, **last;
};

struct merge {
	struct merge_ops ops;
	struct strand strand;
	struct tree *tree;
	struct apply *apply;
	struct dedupe_index *index;
	struct placer *placer;
	struct blob_flow *flow;
	struct merge_blob *blobs;
	size_t n_blobs, blobs_cap;
	struct blob_writer *open; /* the current layer's blob, once it has new data */
	bool in_layer;
	bool no_blob; /* a file for one could not be made */
	uint32_t file; /* the inode whose data is coming, or 0 */
	struct entry *entry; /* of the file, for messages; owned */
	_Atomic uint64_t bytes;
	pthread_mutex_t lock; /* guards what follows */
	size_t n_layers, current;
	struct queue *queues;
};

/* The blob flow reports faults in writing; they belong to no layer. */
static void flow_failed(void *arg, struct error *e)
{
	struct merge *m = arg;

	m->ops.failed(m->ops.arg, NULL, e);
}

static void flow_finished(void *arg, struct blob_writer *w, unsigned number)
{
	struct merge *m = arg;

	m->ops.blob_finished(m->ops.arg, w, number);
}

/* ---- places for blocks ---- */

static int open_blob(struct merge *m, struct error **err)
{
	struct outfile *file;

	if (m->n_blobs == UINT16_MAX)
		return error_set(err, 0, "more than %d layers bring data", UINT16_MAX);
	file = m->ops.new_file(m->ops.arg, err);
	m->no_blob = !file;
	if (!file)
		return -1;
	m->open = blob_writer_new(m->flow, file, true, (unsigned)m->n_blobs);
	m->blobs = xgrow(m->blobs, m->n_blobs, &m->blobs_cap, sizeof(*m->blobs));
	m->blobs[m->n_blobs++] = (struct merge_blob){ .writer = m->open, .layer = m->current };
	dedupe_begin_device(m->index, (uint16_t)m->n_blobs, 1);
	return 0;
}

static int store(void *arg, const uint8_t *data, size_t len, const struct block_key *key,
	struct block_addr *addr, struct error **err)
{
	struct merge *m = arg;
	uint32_t number;

	if (!m->open && open_blob(m, err) < 0)
		return -1;
	number = dedupe_add(m->index, key, err);
	if (!number)
		return -1;
	blob_writer_append(m->open, data, len);
	*addr = dedupe_addr(m->index, number);
	return 0;
}

/* ---- events ---- */

static int begin_layer(struct merge *m, struct error **err)
{
	m->in_layer = true;
	return apply_begin_layer(m->apply, err);
}

static int end_layer(struct merge *m, struct error **err)
{
	if (m->open)
		blob_writer_finish(m->open);
	m->open = NULL;
	m->in_layer = false;
	return apply_end_layer(m->apply, err);
}

/* The event's copy of the entry is kept for as long as its data comes. */
static int take_entry(struct merge *m, struct event *ev, struct error **err)
{
	free(m->entry);
	m->entry = ev->entry;
	ev->entry = NULL;
	if (apply_entry(m->apply, m->entry, &m->file, err) < 0)
		return -1;
	return m->file ? placer_begin(m->placer, m->entry, err) : 0;
}

static int end_file(struct merge *m, struct error **err)
{
	struct tree_extents *extents;

	if (placer_end(m->placer, &extents, err) < 0)
		return -1;
	tree_inode(m->tree, m->file)->extents = extents;
	m->file = 0;
	return 0;
}

static int take_event(struct merge *m, struct event *ev, struct error **err)
{
	if (ev->type == EVENT_ENTRY)
		return take_entry(m, ev, err);
	if (!m->file)
		return 0; /* data of an entry that left no file */
	switch (ev->type) {
	case EVENT_BLOCK:
		return placer_block(m->placer, ev->data, ev->len, &ev->key, err);
	case EVENT_ZEROS:
		return placer_block(m->placer, NULL, 0, NULL, err);
	case EVENT_HOLES:
		return placer_holes(m->placer, ev->n_blk, err);
	default:
		return end_file(m, err);
	}
}

/* Where it happened; but a file that cannot be made is no fault of the layer. */
static int wrap_fault(const struct merge *m, const struct batch *b, struct error **err)
{
	if (m->no_blob)
		return -1;
	if (m->file) {
		CLEANUP_FREE char *path = text_shown(m->entry->path);

		error_wrap(err, "%s", path);
	}
	return error_wrap(err, "%s", reader_name(b->reader));
}

/* MERGE_DONE, or MERGE_LATER with the batch's other events still to take, or -1. */
static int merge_events(struct merge *m, struct batch *b, struct error **err)
{
	if (!m->in_layer && begin_layer(m, err) < 0)
		return wrap_fault(m, b, err);
	for (; b->next_event < b->n_events; b->next_event++) {
		if (blob_flow_is_full(m->flow))
			return MERGE_LATER;
		if (take_event(m, &b->events[b->next_event], err) < 0)
			return wrap_fault(m, b, err);
	}
	if (b->last && end_layer(m, err) < 0)
		return wrap_fault(m, b, err);
	return MERGE_DONE;
}

/* ---- batches, in order ---- */

static void advance(struct merge *m)
{
	struct batch *b = NULL;

	pthread_mutex_lock(&m->lock);
	if (++m->current < m->n_layers) {
		b = m->queues[m->current].first;
		m->queues[m->current].first = NULL;
		/* under the lock, so that no batch of that layer overtakes these */
		while (b) {
			struct batch *next = b->next;

			strand_post(&m->strand, &b->merge_job);
			b = next;
		}
	}
	pthread_mutex_unlock(&m->lock);
	if (m->current < m->n_layers)
		m->ops.layer_begun(m->ops.arg, m->current);
}

static void merge_batch(struct job *job)
{
	struct batch *b = (struct batch *)((char *)job - offsetof(struct batch, merge_job));
	struct merge *m = b->merge;
	struct error *e = NULL;
	bool last = b->last;
	int outcome = m->ops.stopped(m->ops.arg) ? MERGE_DONE : merge_events(m, b, &e);

	if (outcome == MERGE_LATER) {
		strand_post_first(&m->strand, job);
		return;
	}
	if (outcome < 0)
		m->ops.failed(m->ops.arg, m->no_blob ? NULL : b->reader, e);
	m->bytes += b->fill;
	batch_release(m->ops.pool, b);
	if (last)
		advance(m);
}

void merge_take(struct merge *m, struct batch *b)
{
	size_t layer = reader_layer(b->reader);

	b->merge = m;
	b->merge_job.run = merge_batch;
	pthread_mutex_lock(&m->lock);
	if (layer == m->current) {
		strand_post(&m->strand, &b->merge_job);
	} else {
		struct queue *q = &m->queues[layer];

		b->next = NULL;
		if (!q->first)
			q->last = &q->first;
		*q->last = b;
		q->last = &b->next;
	}
	pthread_mutex_unlock(&m->lock);
}

/* ---- the whole ---- */

static void zero_key(const struct dedupe_secret *secret, struct block_key *key)
{
	static const uint8_t zeros[DEDUPE_BLOCK];
	struct block_hasher *h = block_hasher_new(secret);

	block_hasher_key(h, zeros, key);
	block_hasher_free(h);
}

struct merge *merge_new(const struct merge_ops *ops, struct tree *tree,
	const struct dedupe_secret *secret, size_t n_layers, const struct place_rules *rules,
	const struct blob_format *format, unsigned max_frames)
{
	struct merge *m = xzalloc(sizeof(*m));
	const struct blob_flow_ops flow = {
		.workers = ops->workers,
		.feeder = &m->strand,
		.failed = flow_failed,
		.finished = flow_finished,
		.arg = m,
	};
	struct block_key zero;

	m->ops = *ops;
	m->tree = tree;
	m->apply = apply_new(tree);
	m->index = dedupe_index_new();
	zero_key(secret, &zero);
	m->placer = placer_new(m->index, &zero, rules, store, m);
	strand_init(&m->strand, ops->workers, PRIORITY_MERGE);
	m->flow = blob_flow_new(&flow, format, max_frames);
	pthread_mutex_init(&m->lock, NULL);
	m->n_layers = n_layers;
	m->queues = xcalloc(n_layers, sizeof(*m->queues));
	return m;
}

const struct merge_blob *merge_blobs(const struct merge *m, size_t *n)
{
	*n = m->n_blobs;
	return m->blobs;
}

bool merge_is_complete(const struct merge *m)
{
	return m->current >= m->n_layers;
}

uint64_t merge_bytes(const struct merge *m)
{
	return m->bytes;
}

/* What came of a layer whose turn never came. */
static void release_queue(struct merge *m, struct queue *q)
{
	while (q->first) {
		struct batch *b = q->first;

		q->first = b->next;
		batch_release(m->ops.pool, b);
	}
}

void merge_free(struct merge *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n_blobs; i++)
		blob_writer_free(m->blobs[i].writer);
	for (size_t i = 0; i < m->n_layers; i++)
		release_queue(m, &m->queues[i]);
	blob_flow_free(m->flow);
	free(m->blobs);
	placer_free(m->placer);
	dedupe_index_free(m->index);
	apply_free(m->apply);
	pthread_mutex_destroy(&m->lock);
	free(m->queues);
	free(m->entry);
	free(m);
}
