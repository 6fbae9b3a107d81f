// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/convert/reader.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/layer/layer.h"

enum { PRIORITY_READ = 0, PRIORITY_DIGEST = 1, PRIORITY_SCAN = 2 };
/*
 * Blocks of one batch that had to be copied together. Data pieces come in 512 bytes or more
 * from every tool that writes sparse tars; finer ones would blow up memory 4096-fold.
 */
enum { PAGES_MAX = BATCH_SIZE / 512 + 8 };

struct reader {
	struct reader_ops ops;
	size_t layer;
	char *name;
	struct digest diff_id; /* expected; then found */
	bool check_diff_id;
	/* reading */
	struct strand read_strand;
	struct job read_job;
	struct stream *stream;
	/* digesting */
	struct strand digest_strand;
	struct hasher *hasher;
	/* scanning */
	struct strand scan_strand;
	struct layer_parser *parser;
	struct block_hasher *blocks;
	struct batch *batch; /* being scanned */
	uint64_t left; /* bytes of the file that are still to come */
	size_t fill; /* bytes of the file's open block, in partial */
	uint8_t partial[DEDUPE_BLOCK];
};

static void fail(struct reader *r, struct error *e)
{
	struct error *err = e;

	error_wrap(&err, "%s", r->name);
	r->ops.failed(r->ops.arg, r, err);
}

static bool stopped(struct reader *r)
{
	return r->ops.stopped(r->ops.arg);
}

/* ---- reading ---- */

static void digest_batch(struct job *job);
static void scan_batch(struct job *job);

static int fill_batch(struct reader *r, struct batch *b)
{
	struct error *e = NULL;
	ssize_t n;

	if (stopped(r))
		return -1;
	n = r->stream->read(r->stream, b->bytes, BATCH_SIZE, &e);
	if (n < 0) {
		fail(r, e);
		return -1;
	}
	b->fill = (size_t)n;
	b->last = b->fill < BATCH_SIZE;
	return 0;
}

static void wake_reader(void *arg)
{
	strand_resume(&((struct reader *)arg)->read_strand);
}

/* The next batch, once the stream has bytes: no thread waits for them. */
static void post_read(struct reader *r)
{
	strand_pause(&r->read_strand);
	strand_post(&r->read_strand, &r->read_job);
	if (stopped(r) || stream_ready(r->stream, wake_reader, r))
		strand_resume(&r->read_strand);
}

static void read_batch(struct job *job)
{
	struct reader *r = (struct reader *)((char *)job - offsetof(struct reader, read_job));
	bool urgent = r->ops.urgent(r->ops.arg, r);
	struct batch *b = batch_take(r->ops.pool, urgent, &r->read_strand, &r->read_job);

	if (!b) {
		/* its turn may have come before it stood among those who wait: nobody saw it */
		if (!urgent && r->ops.urgent(r->ops.arg, r))
			batch_pool_nudge(r->ops.pool);
		return;
	}
	b->reader = r;
	if (fill_batch(r, b) < 0)
		b->last = true;
	b->digest_job.run = digest_batch;
	b->scan_job.run = scan_batch;
	/* once both are posted, b may be gone */
	if (b->last)
		r->ops.read_ended(r->ops.arg, r);
	else
		post_read(r);
	strand_post(&r->digest_strand, &b->digest_job);
	strand_post(&r->scan_strand, &b->scan_job);
}

/* ---- digesting ---- */

static void check_diff_id(struct reader *r)
{
	char want[DIGEST_MAX_STR], got[DIGEST_MAX_STR];
	struct error *e = NULL;
	struct digest d;

	hasher_final(r->hasher, &d);
	if (r->check_diff_id && !digest_equal(&d, &r->diff_id)) {
		error_set(&e, 0, "the uncompressed layer has the digest %s; the config says %s",
			digest_format(&d, got), digest_format(&r->diff_id, want));
		fail(r, e);
	}
	r->diff_id = d;
}

static void digest_batch(struct job *job)
{
	struct batch *b = (struct batch *)((char *)job - offsetof(struct batch, digest_job));
	struct reader *r = b->reader;

	if (!stopped(r)) {
		hasher_update(r->hasher, b->bytes, b->fill);
		if (b->last)
			check_diff_id(r);
	}
	batch_release(r->ops.pool, b);
}

/* ---- scanning: from bytes to entries and blocks ---- */

static bool all_zero(const uint8_t *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

/* A block of the file: len bytes at p, which lives as long as the batch. */
static void add_block(struct reader *r, const uint8_t *p, size_t len)
{
	uint8_t padded[DEDUPE_BLOCK];
	struct event *ev;

	if (all_zero(p, len)) {
		batch_add_event(r->batch, EVENT_ZEROS);
		return;
	}
	ev = batch_add_event(r->batch, EVENT_BLOCK);
	ev->data = p;
	ev->len = (uint16_t)len;
	if (len < DEDUPE_BLOCK) {
		memcpy(padded, p, len);
		memset(padded + len, 0, sizeof(padded) - len);
		p = padded;
	}
	block_hasher_key(r->blocks, p, &ev->key);
}

/* The block that was gathered piece by piece. */
static int add_partial(struct reader *r, struct error **err)
{
	uint8_t *page;

	if (r->batch->n_pages == PAGES_MAX)
		return error_set(
			err, 0, "sparse file whose data comes in pieces of less than 512 bytes");
	page = batch_add_page(r->batch);
	memcpy(page, r->partial, r->fill);
	add_block(r, page, r->fill);
	r->fill = 0;
	return 0;
}

static int on_entry(void *arg, const struct entry *e, struct error **err)
{
	struct reader *r = arg;

	batch_add_event(r->batch, EVENT_ENTRY)->entry = entry_copy(e);
	r->left = e->size;
	r->fill = 0;
	return 0;
}

static int on_data(void *arg, const uint8_t *p, size_t len, struct error **err)
{
	struct reader *r = arg;

	while (len) {
		size_t n = DEDUPE_BLOCK - r->fill;

		n = n < len ? n : len;
		if (!r->fill && (n == DEDUPE_BLOCK || n == r->left)) {
			add_block(r, p, n); /* where it lies */
		} else {
			memcpy(r->partial + r->fill, p, n);
			r->fill += n;
			if (r->fill == DEDUPE_BLOCK && add_partial(r, err) < 0)
				return -1;
		}
		p += n;
		len -= n;
		r->left -= n;
	}
	return 0;
}

static int on_hole(void *arg, uint64_t len, struct error **err)
{
	struct reader *r = arg;
	uint64_t n;

	r->left -= len;
	if (r->fill) {
		n = DEDUPE_BLOCK - r->fill;
		n = n < len ? n : len;
		memset(r->partial + r->fill, 0, n);
		r->fill += n;
		len -= n;
		if (r->fill == DEDUPE_BLOCK && add_partial(r, err) < 0)
			return -1;
	}
	if (len / DEDUPE_BLOCK)
		batch_add_event(r->batch, EVENT_HOLES)->n_blk = len / DEDUPE_BLOCK;
	n = len % DEDUPE_BLOCK;
	memset(r->partial + r->fill, 0, n);
	r->fill += n;
	return 0;
}

static int on_file_end(void *arg, struct error **err)
{
	struct reader *r = arg;

	if (r->fill && add_partial(r, err) < 0)
		return -1;
	batch_add_event(r->batch, EVENT_FILE_END);
	return 0;
}

static void scan_batch(struct job *job)
{
	struct batch *b = (struct batch *)((char *)job - offsetof(struct batch, scan_job));
	struct reader *r = b->reader;
	struct error *e = NULL;

	r->batch = b;
	if (!stopped(r) && (layer_parser_push(r->parser, b->bytes, b->fill, &e) < 0 ||
				   (b->last && layer_parser_finish(r->parser, &e) < 0)))
		fail(r, e);
	r->ops.scanned(r->ops.arg, b);
}

/* ---- the whole ---- */

struct reader *reader_new(const struct reader_ops *ops, size_t layer, const char *name,
	struct stream *stream, const struct digest *diff_id)
{
	static const struct layer_events events = { on_entry, on_data, on_hole, on_file_end };
	struct reader *r = xzalloc(sizeof(*r));

	r->ops = *ops;
	r->layer = layer;
	r->name = xstrdup(name);
	r->stream = stream;
	if (diff_id) {
		r->diff_id = *diff_id;
		r->check_diff_id = true;
	}
	r->hasher = hasher_new(r->diff_id.algo);
	r->parser = layer_parser_new(&events, r);
	r->blocks = block_hasher_new(ops->secret);
	r->read_job.run = read_batch;
	strand_init(&r->read_strand, ops->workers, PRIORITY_READ);
	strand_init(&r->digest_strand, ops->workers, PRIORITY_DIGEST);
	strand_init(&r->scan_strand, ops->workers, PRIORITY_SCAN);
	return r;
}

void reader_start(struct reader *r)
{
	post_read(r);
}

void reader_nudge(struct reader *r)
{
	wake_reader(r);
}

size_t reader_layer(const struct reader *r)
{
	return r->layer;
}

const char *reader_name(const struct reader *r)
{
	return r->name;
}

const struct digest *reader_diff_id(const struct reader *r)
{
	return &r->diff_id;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	r->stream->close(r->stream);
	layer_parser_free(r->parser);
	block_hasher_free(r->blocks);
	hasher_free(r->hasher);
	free(r->name);
	free(r);
}
