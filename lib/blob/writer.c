// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/blob/writer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <xxhash.h>

#include "fmt/chunk_index.h"
#include "fmt/erofs.h"
#include "fmt/zstd_frame.h"
#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/blob/encoder.h"
#include "lib/blob/range_map.h"

enum { PRIORITY_ENCODE = 3, PRIORITY_DIGEST = 4, PRIORITY_EMIT = 4 };

/* A frame on its way; encoding and emitting it is one job, digesting its content another. */
struct piece {
	struct job job; /* first: jobs are cast back to it */
	struct job digest_job;
	struct piece *next;
	struct blob_writer *writer;
	uint64_t sequence;
	uint64_t offset; /* in the device */
	bool last; /* of the blob */
	atomic_uint users; /* jobs that still want it */
	size_t fill;
	size_t best_end; /* where it would end by content, of what came so far; 0: nowhere yet */
	uint64_t best_hash;
	const uint8_t *stored; /* as it is written to the file */
	size_t stored_size;
	uint8_t sha256[CHUNK_INDEX_HASH]; /* of that */
	uint8_t *encoded; /* room for it behind the data; raw: NULL */
	uint8_t data[];
};

struct blob_flow {
	struct blob_flow_ops ops;
	struct blob_format format;
	struct encoder *encoder; /* raw: NULL */
	unsigned max_frames;
	atomic_bool stopped; /* after a failure frames are dropped */
	pthread_mutex_t lock;
	unsigned under_way;
	struct piece *spare; /* to use again */
};

struct blob_writer {
	struct blob_flow *flow;
	struct outfile *file;
	unsigned number;
	bool first_alone; /* the first frame is the constant block */
	struct piece *open; /* being filled */
	uint64_t next_sequence;
	uint32_t blocks;
	atomic_uint unfinished; /* strands that have not come to the last frame */
	/* the digest strand's */
	struct strand digest;
	struct hasher *content;
	/* the emit strand's */
	struct strand emit;
	struct hasher *hasher; /* of the file */
	uint64_t size;
	uint8_t *index; /* the chunk index's payload, header and entries */
	size_t n_frames, index_cap;
	/* guarded by flow->lock: encoded frames that wait for an earlier one, by number */
	struct piece *waiting;
	uint64_t next_emit;
};

/* ---- what all writers share ---- */

struct blob_flow *blob_flow_new(
	const struct blob_flow_ops *ops, const struct blob_format *format, unsigned max_frames)
{
	struct blob_flow *flow = xzalloc(sizeof(*flow));

	flow->ops = *ops;
	flow->format = *format;
	flow->max_frames = max_frames;
	if (format->zstd)
		flow->encoder = encoder_new(format->level);
	pthread_mutex_init(&flow->lock, NULL);
	return flow;
}

bool blob_flow_is_full(struct blob_flow *flow)
{
	bool full;

	pthread_mutex_lock(&flow->lock);
	full = flow->under_way >= flow->max_frames;
	pthread_mutex_unlock(&flow->lock);
	return full;
}

void blob_flow_free(struct blob_flow *flow)
{
	if (!flow)
		return;
	while (flow->spare) {
		struct piece *p = flow->spare;

		flow->spare = p->next;
		free(p);
	}
	encoder_free(flow->encoder);
	pthread_mutex_destroy(&flow->lock);
	free(flow);
}

static void fail(struct blob_flow *flow, struct error *e)
{
	if (atomic_exchange(&flow->stopped, true))
		error_free(e);
	else
		flow->ops.failed(flow->ops.arg, e);
}

static struct piece *new_piece(const struct blob_format *format)
{
	size_t room = format->zstd ? encoder_bound(format->frame_size) : 0;
	struct piece *p = xmalloc(sizeof(*p) + format->frame_size + room);

	p->encoded = room ? p->data + format->frame_size : NULL;
	return p;
}

static struct piece *take_piece(struct blob_writer *w)
{
	struct blob_flow *flow = w->flow;
	struct piece *p;

	pthread_mutex_lock(&flow->lock);
	p = flow->spare;
	if (p)
		flow->spare = p->next;
	if (++flow->under_way >= flow->max_frames)
		strand_pause(flow->ops.feeder);
	pthread_mutex_unlock(&flow->lock);
	if (!p)
		p = new_piece(&flow->format);
	p->writer = w;
	p->sequence = w->next_sequence++;
	p->offset = (uint64_t)w->blocks * EROFS_BLOCK_SIZE;
	p->last = false;
	p->fill = p->best_end = 0;
	return p;
}

/* The last of its users gives it back. */
static void drop_piece(struct blob_flow *flow, struct piece *p)
{
	if (atomic_fetch_sub(&p->users, 1) != 1)
		return;
	pthread_mutex_lock(&flow->lock);
	p->next = flow->spare;
	flow->spare = p;
	if (--flow->under_way < flow->max_frames)
		strand_resume(flow->ops.feeder);
	pthread_mutex_unlock(&flow->lock);
}

/* A strand has come to the blob's end; the last of them tells. */
static void strand_ended(struct blob_writer *w)
{
	struct blob_flow *flow = w->flow;

	if (atomic_fetch_sub(&w->unfinished, 1) == 1 && flow->ops.finished &&
		!atomic_load(&flow->stopped))
		flow->ops.finished(flow->ops.arg, w, w->number);
}

/* ---- emitting: frames come in order ---- */

static int write_bytes(struct blob_writer *w, const void *p, size_t len, struct error **err)
{
	if (outfile_pwrite(w->file, p, len, w->size, err) < 0)
		return -1;
	hasher_update(w->hasher, p, len);
	w->size += len;
	return 0;
}

static int add_to_index(struct blob_writer *w, const struct piece *p, struct error **err)
{
	const struct chunk_entry entry = {
		.stored_offset = w->size, .offset = p->offset, .sha256 = p->sha256
	};
	size_t at = CHUNK_INDEX_HEADER + w->n_frames * CHUNK_INDEX_ENTRY;

	if (at + CHUNK_INDEX_ENTRY > RANGE_MAP_BYTES_MAX) {
		error_set(err, 0, "a layer has too many frames for a chunk index");
		return error_hint(err, "a larger --frame-size");
	}
	if (w->index_cap < at + CHUNK_INDEX_ENTRY) {
		w->index_cap = 2 * at + 64 * CHUNK_INDEX_ENTRY;
		w->index = xrealloc_array(w->index, w->index_cap, 1);
	}
	chunk_index_put_entry(w->index + at, &entry);
	w->n_frames++;
	return 0;
}

static void hash_stored(struct piece *p)
{
	struct digest d;

	digest_of(&d, DIGEST_SHA256, p->stored, p->stored_size);
	memcpy(p->sha256, d.bytes, sizeof(p->sha256));
}

/* The index's frame begins at a multiple of 4, without padding: the last frame makes up for it. */
static int align_last(struct blob_writer *w, struct piece *p, struct error **err)
{
	struct fault fault;

	p->stored_size = zstd_frame_align(p->encoded, p->stored_size, w->size, &fault);
	if (!p->stored_size)
		return error_set(err, 0, "zstd made a bad frame: %s", fault.what);
	hash_stored(p);
	return 0;
}

static int write_index(struct blob_writer *w, struct error **err)
{
	uint8_t head[CHUNK_INDEX_SKIPPABLE];
	size_t size = CHUNK_INDEX_HEADER + w->n_frames * CHUNK_INDEX_ENTRY;

	chunk_index_put_header(
		w->index, (uint64_t)w->blocks * EROFS_BLOCK_SIZE, (uint32_t)w->n_frames);
	chunk_index_put_skippable(head, (uint32_t)size);
	if (write_bytes(w, head, sizeof(head), err) < 0)
		return -1;
	return write_bytes(w, w->index, size, err);
}

static int emit_piece(struct blob_writer *w, struct piece *p, struct error **err)
{
	bool zstd = w->flow->format.zstd;

	if (zstd && p->last && align_last(w, p, err) < 0)
		return -1;
	if (zstd && add_to_index(w, p, err) < 0)
		return -1;
	if (write_bytes(w, p->stored, p->stored_size, err) < 0)
		return -1;
	return zstd && p->last ? write_index(w, err) : 0;
}

static void emit(struct job *job)
{
	struct piece *p = (struct piece *)job;
	struct blob_writer *w = p->writer;
	struct blob_flow *flow = w->flow;
	struct error *e = NULL;
	bool last = p->last;

	if (!atomic_load(&flow->stopped) && emit_piece(w, p, &e) < 0)
		fail(flow, e);
	drop_piece(flow, p);
	if (last)
		strand_ended(w);
}

/* An encoded frame joins the others: all that are next in line go to the emit strand. */
static void join(struct piece *p)
{
	struct blob_writer *w = p->writer;
	struct blob_flow *flow = w->flow;
	struct piece **at = &w->waiting;

	pthread_mutex_lock(&flow->lock);
	while (*at && (*at)->sequence < p->sequence)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
	while (w->waiting && w->waiting->sequence == w->next_emit) {
		struct piece *first = w->waiting;

		w->waiting = first->next;
		w->next_emit++;
		first->job.run = emit;
		strand_post(&w->emit, &first->job);
	}
	pthread_mutex_unlock(&flow->lock);
}

/* ---- encoding ---- */

static void encode(struct job *job)
{
	struct piece *p = (struct piece *)job;
	struct blob_flow *flow = p->writer->flow;

	if (!atomic_load(&flow->stopped) && !interrupt_pending()) {
		p->stored = p->encoded;
		p->stored_size = encoder_encode(flow->encoder, p->data, p->fill, p->encoded);
	}
	if (interrupt_pending()) /* a frame may take long; nobody waits for it any more */
		atomic_store(&flow->stopped, true);
	if (!atomic_load(&flow->stopped)) {
		if (!p->last) /* that one is not yet what it will be */
			hash_stored(p);
	}
	join(p);
}

static void digest_content(struct job *job)
{
	struct piece *p = (struct piece *)((char *)job - offsetof(struct piece, digest_job));
	struct blob_writer *w = p->writer;
	bool last = p->last;

	if (!atomic_load(&w->flow->stopped))
		hasher_update(w->content, p->data, p->fill);
	drop_piece(w->flow, p);
	if (last)
		strand_ended(w);
}

/* A frame goes its way. Raw frames are their own encoding, and their content is the file's. */
static void submit(struct blob_writer *w)
{
	struct piece *p = take_ptr(w->open);

	if (!w->flow->format.zstd) {
		atomic_store(&p->users, 1);
		p->stored = p->data;
		p->stored_size = p->fill;
		join(p);
		return;
	}
	atomic_store(&p->users, 2);
	p->digest_job.run = digest_content;
	p->job.run = encode;
	strand_post(&w->digest, &p->digest_job);
	workers_post(w->flow->ops.workers, PRIORITY_ENCODE, &p->job);
}

/* ---- the blob ---- */

struct blob_writer *blob_writer_new(
	struct blob_flow *flow, struct outfile *file, bool data_blob, unsigned number)
{
	struct blob_writer *w = xzalloc(sizeof(*w));
	uint8_t first[EROFS_BLOCK_SIZE];

	w->flow = flow;
	w->file = file;
	w->number = number;
	w->hasher = hasher_new(DIGEST_SHA256);
	w->content = flow->format.zstd ? hasher_new(DIGEST_SHA256) : NULL;
	w->unfinished = flow->format.zstd ? 2 : 1;
	strand_init(&w->emit, flow->ops.workers, PRIORITY_EMIT);
	strand_init(&w->digest, flow->ops.workers, PRIORITY_DIGEST);
	if (!data_blob)
		return w;
	w->first_alone = true;
	erofs_empty_image(first);
	blob_writer_append(w, first, sizeof(first));
	return w;
}

/*
 * Where frames end follows the content (docs/frames.md), so that images whose blobs differ share
 * frames: of the places from half a frame to a whole one, the one before the block with the lowest
 * hash.
 */

static size_t least_fill(const struct blob_format *format)
{
	size_t blocks = format->frame_size / EROFS_BLOCK_SIZE;

	return (blocks + 1) / 2 * EROFS_BLOCK_SIZE;
}

/* May the open frame end here, before this block? */
static void weigh_end(struct blob_writer *w, const uint8_t *block)
{
	const struct blob_format *format = &w->flow->format;
	struct piece *p = w->open;
	uint64_t hash;

	if (!format->zstd || p->fill < least_fill(format))
		return;
	hash = XXH3_64bits(block, EROFS_BLOCK_SIZE);
	if (p->best_end && hash >= p->best_hash)
		return;
	p->best_end = p->fill;
	p->best_hash = hash;
}

/* The full frame goes; what lies behind its best end begins the next one. */
static void end_frame(struct blob_writer *w)
{
	struct piece *full = w->open;
	size_t end = full->best_end ? full->best_end : full->fill;
	struct piece *next = take_piece(w);

	next->offset = full->offset + end;
	next->fill = full->fill - end;
	memcpy(next->data, full->data + end, next->fill);
	full->fill = end;
	submit(w);
	w->open = next;
}

/* The last frame is known as such when it goes: a full one waits for what comes after it. */
void blob_writer_append(struct blob_writer *w, const void *data, size_t len)
{
	uint8_t block[EROFS_BLOCK_SIZE];

	memcpy(block, data, len);
	memset(block + len, 0, EROFS_BLOCK_SIZE - len);
	if (!w->open)
		w->open = take_piece(w);
	if (w->first_alone && w->blocks == 1)
		end_frame(w);
	weigh_end(w, block);
	if (w->open->fill == w->flow->format.frame_size) {
		end_frame(w);
		weigh_end(w, block);
	}
	memcpy(w->open->data + w->open->fill, block, EROFS_BLOCK_SIZE);
	w->open->fill += EROFS_BLOCK_SIZE;
	w->blocks++;
}

void blob_writer_finish(struct blob_writer *w)
{
	w->open->last = true;
	submit(w);
}

struct outfile *blob_writer_take(struct blob_writer *w, struct blob_result *result)
{
	*result = (struct blob_result){
		.size = w->size, .blocks = w->blocks, .zstd = w->flow->format.zstd
	};
	hasher_final(w->hasher, &result->digest);
	result->diff_id = result->digest;
	if (result->zstd) {
		size_t size = CHUNK_INDEX_HEADER + w->n_frames * CHUNK_INDEX_ENTRY;

		hasher_final(w->content, &result->diff_id);
		result->index_end = w->size;
		result->index_offset = w->size - size - CHUNK_INDEX_SKIPPABLE;
		digest_of(&result->index_digest, DIGEST_SHA256, w->index, size);
	}
	return take_ptr(w->file);
}

void blob_writer_free(struct blob_writer *w)
{
	if (!w)
		return;
	free(w->open);
	hasher_free(w->hasher);
	hasher_free(w->content);
	outfile_free(w->file);
	free(w->index);
	free(w);
}
