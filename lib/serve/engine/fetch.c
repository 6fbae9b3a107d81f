// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * One request's bytes to frames in the cache: space, bytes, then for each frame its SHA-256,
 * decompression, writing, and its waiters, before the next one.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/blob/decoder.h"
#include "lib/serve/engine/part.h"

enum { FULL_PAUSE_MIN = 100, FULL_PAUSE_MAX = 2000 }; /* milliseconds, until eviction is tried */

/* What it held before is of no use. */
static void need(struct buffer *b, size_t size)
{
	if (b->size >= size)
		return;
	free(b->p);
	b->p = xmalloc(size);
	b->size = size;
}

void fetcher_drop_buffers(struct fetcher *f)
{
	free(f->stored.p);
	free(f->content.p);
	f->stored = f->content = (struct buffer){ 0 };
}

static int read_source(
	struct served_blob *b, uint64_t offset, uint8_t *p, size_t len, struct error **err)
{
	count_add(b, COUNT_REQUESTS, 1);
	if (b->source->read(b->source, &b->digest, offset, p, len, err) < 0)
		return -1;
	count_add(b, COUNT_BYTES, len);
	return 0;
}

/* Once more, for what a source's own retries do not cover. */
static int read_twice(
	struct served_blob *b, uint64_t offset, uint8_t *p, size_t len, struct error **err)
{
	if (read_source(b, offset, p, len, err) == 0)
		return 0;
	log_debug("%s: %s; trying again", b->name, (*err)->msg);
	error_free(take_ptr(*err));
	return read_source(b, offset, p, len, err);
}

static int read_run(struct fetcher *f, uint64_t base, size_t len, struct error **err)
{
	struct served_blob *b = f->run.blob;
	bool recovered;
	int rc;

	need(&f->stored, len);
	rc = read_twice(b, base, f->stored.p, len, err);
	pthread_mutex_lock(&b->engine->lock);
	recovered = rc == 0 && b->failing;
	b->failing = rc < 0;
	pthread_mutex_unlock(&b->engine->lock);
	if (recovered)
		log_info("%s: its source answers again", b->name);
	return rc;
}

static int verify(
	struct served_blob *b, const struct frame *frame, const uint8_t *p, struct error **err)
{
	if (frame_verify(frame, p, err) == 0)
		return 0;
	count_add(b, COUNT_BAD_FRAMES, 1);
	if (b->source->blame)
		b->source->blame(b->source);
	return -1;
}

/* A frame with wrong bytes is read again alone: the others of its request may be good. */
static int verify_twice(
	struct served_blob *b, const struct frame *frame, uint8_t *p, struct error **err)
{
	if (verify(b, frame, p, err) == 0)
		return 0;
	log_debug("%s: frame %" PRIu32 ": %s; trying again", b->name, frame->number, (*err)->msg);
	error_free(take_ptr(*err));
	if (read_source(b, frame->stored_offset, p, frame->stored_size, err) < 0)
		return -1;
	return verify(b, frame, p, err);
}

static int store_frame(
	struct fetcher *f, const struct frame *frame, uint8_t *stored, struct error **err)
{
	struct served_blob *b = f->run.blob;

	need(&f->content, frame->size);
	if (verify_twice(b, frame, stored, err) < 0 ||
		decoder_decode(f->decoder, frame, stored, f->content.p, err) < 0)
		return error_wrap(err, "frame %" PRIu32, frame->number);
	return store_blob_write(
		b->cache, frame->number, frame->offset, f->content.p, frame->size, err);
}

static bool is_full(const struct error *e)
{
	return e->code == ENOSPC || e->code == EDQUOT;
}

static void land(struct fetcher *f, uint32_t i, uint32_t written, int error)
{
	struct want_list done = TAILQ_HEAD_INITIALIZER(done);
	struct served_blob *b = f->run.blob;

	pthread_mutex_lock(&b->engine->lock);
	if (!error) {
		count_add(b, COUNT_FRAMES, 1);
		sync_note_locked(b, written);
		if (f->run.level == PREFETCH)
			b->prefetch_pause = 0;
	}
	flight_land_locked(b, f->run.flights[i], error, &done);
	queue_update_locked(b); /* a wide want asks for more */
	pthread_mutex_unlock(&b->engine->lock);
	wants_answer(&done);
}

/* Nothing more comes of this run: flights from number i on are absent again. */
static void fail(struct fetcher *f, uint32_t i, const struct error *err)
{
	struct served_blob *b = f->run.blob;

	blob_tell_fault(b, err);
	for (; i < f->run.n; i++)
		land(f, i, 0, EIO);
	pthread_mutex_lock(&b->engine->lock);
	if (f->run.level == PREFETCH)
		prefetch_rest_locked(b);
	pthread_mutex_unlock(&b->engine->lock);
}

static void rest_full_locked(struct served_blob *b, enum level level)
{
	unsigned ms = b->full_pause * 2;

	if (level == PREFETCH) {
		prefetch_rest_locked(b);
		return;
	}
	ms = ms < FULL_PAUSE_MIN ? FULL_PAUSE_MIN : ms < FULL_PAUSE_MAX ? ms : FULL_PAUSE_MAX;
	b->full_pause = ms;
	b->rest[level] = engine_now() + (uint64_t)ms * 1000;
}

/*
 * The store is full. Who waits goes on waiting, for somebody to unmount something; the fetcher does
 * not. What nobody waits for is absent again.
 */
static void wait_for_space(struct fetcher *f, uint32_t i, const struct error *err)
{
	struct want_list none = TAILQ_HEAD_INITIALIZER(none);
	struct served_blob *b = f->run.blob;
	struct flight *flight;

	blob_tell_fault(b, err);
	pthread_mutex_lock(&b->engine->lock);
	rest_full_locked(b, f->run.level);
	for (; i < f->run.n; i++) {
		flight = f->run.flights[i];
		if (TAILQ_EMPTY(&flight->waiters)) {
			flight_land_locked(b, flight, 0, &none);
			continue;
		}
		if (f->run.level != DEMAND)
			rest_full_locked(b, DEMAND);
		b->full = true;
		queue_back_locked(b, flight);
	}
	queue_update_locked(b);
	pthread_mutex_unlock(&b->engine->lock);
}

static void give_up(struct fetcher *f, uint32_t i, const struct error *err)
{
	if (is_full(err))
		wait_for_space(f, i, err);
	else
		fail(f, i, err);
}

static void found_room(struct served_blob *b)
{
	bool was;

	pthread_mutex_lock(&b->engine->lock);
	was = b->full;
	b->full = false;
	b->full_pause = 0;
	pthread_mutex_unlock(&b->engine->lock);
	if (was)
		log_info("%s: there is space in the store again", b->name);
}

/* One frame that fails is one that fails. The others go on, but not where nothing can be stored. */
static void store_frames(struct fetcher *f, uint64_t base, uint64_t *unused)
{
	struct served_blob *b = f->run.blob;
	const struct range_map *m = blob_map(b);

	for (uint32_t i = 0; i < f->run.n; i++) {
		struct frame frame = range_map_frame(m, f->run.flights[i]->frame);
		CLEANUP_ERROR struct error *err = NULL;

		if (store_frame(f, &frame, f->stored.p + (frame.stored_offset - base), &err) == 0) {
			*unused -= frame.size;
			land(f, i, frame.size, 0);
		} else if (is_full(err)) {
			wait_for_space(f, i, err);
			return;
		} else {
			blob_tell_fault(b, err);
			land(f, i, 0, EIO);
		}
	}
}

void fetch_run(struct fetcher *f)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct served_blob *b = f->run.blob;
	uint64_t unused = f->run.need;
	struct frame first, last;

	if (!f->run.n)
		return;
	if (room_take(b, f->run.need, &err) < 0) {
		give_up(f, 0, err);
		return;
	}
	found_room(b);
	first = range_map_frame(blob_map(b), f->run.first);
	last = range_map_frame(blob_map(b), f->run.end - 1);
	if (read_run(f, first.stored_offset,
		    last.stored_offset + last.stored_size - first.stored_offset, &err) == 0)
		store_frames(f, first.stored_offset, &unused);
	else
		give_up(f, 0, err);
	room_give_back(b, unused);
}
