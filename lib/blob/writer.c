// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/blob/writer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "fmt/erofs.h"
#include "lib/base/mem.h"

enum { PRIORITY_EMIT = 4 };

struct frame {
	struct job job; /* first: jobs are cast back to it */
	struct frame *next;
	struct blob_writer *writer;
	uint64_t sequence;
	size_t fill;
	uint8_t data[];
};

struct blob_flow {
	struct workers *workers;
	struct strand *feeder;
	size_t frame_size;
	unsigned max_frames;
	void (*failed)(void *arg, struct error *e);
	void *arg;
	atomic_bool stopped; /* after a failure frames are dropped */
	pthread_mutex_t lock;
	unsigned under_way;
	struct frame *spare; /* to use again */
};

struct blob_writer {
	struct blob_flow *flow;
	struct outfile *file;
	struct frame *open; /* being filled */
	uint64_t next_sequence;
	uint32_t blocks;
	/* from here on: the emit strand's */
	struct strand emit;
	struct hasher *hasher;
	uint64_t size;
	/* guarded by flow->lock: encoded frames that wait for an earlier one, by number */
	struct frame *waiting;
	uint64_t next_emit;
};

struct blob_flow *blob_flow_new(struct workers *workers, struct strand *feeder, size_t frame_size,
	unsigned max_frames, void (*failed)(void *arg, struct error *e), void *arg)
{
	struct blob_flow *flow = xzalloc(sizeof(*flow));

	*flow = (struct blob_flow){
		.workers = workers,
		.feeder = feeder,
		.frame_size = frame_size,
		.max_frames = max_frames,
		.failed = failed,
		.arg = arg,
	};
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
		struct frame *f = flow->spare;

		flow->spare = f->next;
		free(f);
	}
	pthread_mutex_destroy(&flow->lock);
	free(flow);
}

static struct frame *take_frame(struct blob_writer *w)
{
	struct blob_flow *flow = w->flow;
	struct frame *f;

	pthread_mutex_lock(&flow->lock);
	f = flow->spare;
	if (f)
		flow->spare = f->next;
	if (++flow->under_way >= flow->max_frames)
		strand_pause(flow->feeder);
	pthread_mutex_unlock(&flow->lock);
	if (!f)
		f = xmalloc(sizeof(*f) + flow->frame_size);
	f->writer = w;
	f->sequence = w->next_sequence++;
	f->fill = 0;
	return f;
}

static void give_frame(struct blob_flow *flow, struct frame *f)
{
	pthread_mutex_lock(&flow->lock);
	f->next = flow->spare;
	flow->spare = f;
	if (--flow->under_way < flow->max_frames)
		strand_resume(flow->feeder);
	pthread_mutex_unlock(&flow->lock);
}

/* On the emit strand: frames come in order. */
static void emit(struct job *job)
{
	struct frame *f = (struct frame *)job;
	struct blob_writer *w = f->writer;
	struct error *e = NULL;

	if (!atomic_load(&w->flow->stopped)) {
		if (outfile_pwrite(w->file, f->data, f->fill, w->size, &e) < 0 &&
			!atomic_exchange(&w->flow->stopped, true))
			w->flow->failed(w->flow->arg, take_ptr(e));
		error_free(e);
		hasher_update(w->hasher, f->data, f->fill);
		w->size += f->fill;
	}
	give_frame(w->flow, f);
}

/* An encoded frame joins the others: all that are next in line go to the emit strand. */
static void join(struct frame *f)
{
	struct blob_writer *w = f->writer;
	struct frame **at = &w->waiting;

	pthread_mutex_lock(&w->flow->lock);
	while (*at && (*at)->sequence < f->sequence)
		at = &(*at)->next;
	f->next = *at;
	*at = f;
	while (w->waiting && w->waiting->sequence == w->next_emit) {
		struct frame *first = w->waiting;

		w->waiting = first->next;
		w->next_emit++;
		first->job.run = emit;
		strand_post(&w->emit, &first->job);
	}
	pthread_mutex_unlock(&w->flow->lock);
}

/* A full frame goes its way. Raw frames are their own encoding. */
static void submit(struct blob_writer *w)
{
	struct frame *f = take_ptr(w->open);

	if (f)
		join(f);
}

struct blob_writer *blob_writer_new(struct blob_flow *flow, struct outfile *file)
{
	struct blob_writer *w = xzalloc(sizeof(*w));
	uint8_t first[EROFS_BLOCK_SIZE];

	w->flow = flow;
	w->file = file;
	w->hasher = hasher_new(DIGEST_SHA256);
	strand_init(&w->emit, flow->workers, PRIORITY_EMIT);
	erofs_empty_image(first);
	blob_writer_append(w, first, sizeof(first));
	submit(w);
	return w;
}

void blob_writer_append(struct blob_writer *w, const void *data, size_t len)
{
	if (!w->open)
		w->open = take_frame(w);
	memcpy(w->open->data + w->open->fill, data, len);
	memset(w->open->data + w->open->fill + len, 0, EROFS_BLOCK_SIZE - len);
	w->open->fill += EROFS_BLOCK_SIZE;
	w->blocks++;
	if (w->open->fill == w->flow->frame_size)
		submit(w);
}

void blob_writer_finish(struct blob_writer *w)
{
	submit(w);
}

struct outfile *blob_writer_close(struct blob_writer *w, struct blob_result *result)
{
	struct outfile *file = take_ptr(w->file);

	hasher_final(w->hasher, &result->digest);
	result->size = w->size;
	result->blocks = w->blocks;
	blob_writer_free(w);
	return file;
}

void blob_writer_free(struct blob_writer *w)
{
	if (!w)
		return;
	free(w->open);
	hasher_free(w->hasher);
	outfile_free(w->file);
	free(w);
}
