// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * One request's bytes to frames in the cache: space, bytes, then for each frame its SHA-256,
 * decompression, writing, and its waiters, before the next one. fetch_stream.c does the same with
 * bytes that come little by little.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "lib/base/log.h"
#include "lib/base/log_event.h"
#include "lib/base/mem.h"
#include "lib/blob/decoder.h"
#include "lib/serve/engine/part.h"

/* Milliseconds, until eviction is tried, or who is away is asked again. */
enum { PAUSE_MIN = 100, PAUSE_MAX = 2000 };

void fetcher_need(struct buffer *b, size_t size)
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
	int rc;

	count_add(b, COUNT_REQUESTS, 1);
	rc = b->source->read(b->source, &b->digest, offset, p, len, err);
	if (rc < 0)
		return -1;
	count_add(b, COUNT_RECOVERED, rc == 1);
	count_add(b, COUNT_BYTES, len);
	return 0;
}

/*
 * Once more, for what a source's own retries do not cover. Who is away is not asked twice at once:
 * who waits for it asks later, and so does prefetching.
 */
static int read_twice(
	struct served_blob *b, uint64_t offset, uint8_t *p, size_t len, struct error **err)
{
	if (read_source(b, offset, p, len, err) == 0)
		return 0;
	if (b->removed || (*err)->code == EAGAIN)
		return -1;
	log_debug("%s: %s; trying again", b->name, (*err)->msg);
	error_free(take_ptr(*err));
	if (read_source(b, offset, p, len, err) < 0)
		return -1;
	count_add(b, COUNT_RECOVERED, 1);
	return 0;
}

static int read_run(struct fetcher *f, uint64_t base, size_t len, struct error **err)
{
	int rc;

	fetcher_need(&f->stored, len);
	rc = read_twice(f->run.blob, base, f->stored.p, len, err);
	blob_tell_answer(f->run.blob, rc == 0);
	return rc;
}

static int verify(struct served_blob *b, const struct frame *frame, const uint8_t *p, bool blame,
	struct error **err)
{
	if (frame_verify(frame, p, err) == 0)
		return 0;
	count_add(b, COUNT_BAD_FRAMES, 1);
	if (blame && b->source->blame)
		b->source->blame(b->source);
	return -1;
}

/* A frame with wrong bytes is read again alone: the others of its request may be good. */
static int verify_twice(
	struct fetcher *f, const struct frame *frame, uint8_t *p, struct error **err)
{
	struct served_blob *b = f->run.blob;
	int rc;

	if (verify(b, frame, p, !f->run.blamed, err) == 0)
		return 0;
	f->run.blamed = true; /* once: who answers now may be somebody else */
	log_debug("%s: frame %" PRIu32 ": %s; trying again", b->name, frame->number, (*err)->msg);
	error_free(take_ptr(*err));
	turn_give(f); /* this may take long */
	rc = read_source(b, frame->stored_offset, p, frame->stored_size, err);
	blob_tell_answer(b, rc == 0);
	turn_take(f);
	if (rc < 0 || verify(b, frame, p, true, err) < 0)
		return -1;
	count_add(b, COUNT_RECOVERED, 1);
	return 0;
}

static int store_frame(
	struct fetcher *f, const struct frame *frame, uint8_t *stored, struct error **err)
{
	struct served_blob *b = f->run.blob;

	fetcher_need(&f->content, frame->size);
	if (verify_twice(f, frame, stored, err) < 0 ||
		decoder_decode(f->decoder, frame, stored, f->content.p, err) < 0)
		return error_wrap(err, "frame %" PRIu32, frame->number);
	return store_blob_write(
		b->cache, frame->number, frame->offset, f->content.p, frame->size, err);
}

/* Flight i, unless it is another run's by now. */
static void land(struct fetcher *f, uint32_t i, uint32_t written, int error)
{
	struct want_list done = TAILQ_HEAD_INITIALIZER(done);
	struct served_blob *b = f->run.blob;
	struct flight *flight;

	pthread_mutex_lock(&b->engine->lock);
	if (!error) {
		count_add(b, COUNT_FRAMES, 1);
		b->cached += written;
		sync_note_locked(b, written);
		if (f->run.level == PREFETCH)
			b->prefetch_pause = 0;
	}
	flight = take_ptr(f->run.flights[i]);
	f->run.at = i + 1;
	if (flight)
		flight_land_locked(b, flight, error, &done);
	queue_update_locked(b); /* a wide want asks for more */
	pthread_mutex_unlock(&b->engine->lock);
	wants_answer(&done);
}

static void land_rest(struct fetcher *f, uint32_t i, int error)
{
	struct served_blob *b = f->run.blob;

	for (; i < f->run.n; i++)
		land(f, i, 0, error);
	pthread_mutex_lock(&b->engine->lock);
	if (f->run.level == PREFETCH)
		prefetch_rest_locked(b);
	pthread_mutex_unlock(&b->engine->lock);
}

/* Nothing more comes of this run: flights from number i on are absent again. */
static void fail(struct fetcher *f, uint32_t i, const struct error *err)
{
	struct served_blob *b = f->run.blob;

	blob_tell_fault(b, err);
	land_rest(f, i, EIO);
}

/* Each time for longer; but runs that fail together do so once. */
static void rest_locked(struct served_blob *b, enum level level, unsigned *pause)
{
	uint64_t now = engine_now();
	unsigned ms = *pause * 2;

	if (level == PREFETCH) {
		prefetch_rest_locked(b);
		return;
	}
	if (b->rest[level] > now)
		return;
	ms = ms < PAUSE_MIN ? PAUSE_MIN : ms < PAUSE_MAX ? ms : PAUSE_MAX;
	*pause = ms;
	b->rest[level] = now + (uint64_t)ms * 1000;
}

static void lack_locked(struct served_blob *b, uint64_t bytes)
{
	if (!b->lacking || b->lacking > bytes)
		b->lacking = bytes;
}

bool fetch_leave_locked(struct fetcher *f, uint32_t i)
{
	struct want_list none = TAILQ_HEAD_INITIALIZER(none);
	struct served_blob *b = f->run.blob;
	bool wanted = false;

	for (; i < f->run.n; i++) {
		struct flight *flight = take_ptr(f->run.flights[i]);

		if (flight && TAILQ_EMPTY(&flight->waiters)) {
			flight_land_locked(b, flight, 0, &none);
		} else if (flight) {
			wanted = true;
			queue_back_locked(b, flight);
		}
	}
	return wanted;
}

/*
 * The store is full. Who waits goes on waiting, for somebody to unmount something; the fetcher does
 * not. What nobody waits for is absent again.
 */
static void wait_for_space(struct fetcher *f, uint32_t i)
{
	struct served_blob *b = f->run.blob;
	bool wanted;

	pthread_mutex_lock(&b->engine->lock);
	rest_locked(b, f->run.level, &b->full_pause);
	wanted = fetch_leave_locked(f, i);
	if (wanted && f->run.level != DEMAND)
		rest_locked(b, DEMAND, &b->full_pause);
	if (wanted || f->run.level == DEMAND)
		lack_locked(b, f->run.need);
	queue_update_locked(b);
	pthread_mutex_unlock(&b->engine->lock);
}

/* Once somebody has waited for space in vain, the others are told at once. */
static void lack_space(struct fetcher *f, uint32_t i, const struct error *err)
{
	struct served_blob *b = f->run.blob;
	bool starved;

	blob_tell_fault(b, err);
	pthread_mutex_lock(&b->engine->lock);
	starved = b->starved || f->run.starved; /* what was reserved was not there */
	b->starved = starved;
	if (starved)
		lack_locked(b, f->run.need);
	pthread_mutex_unlock(&b->engine->lock);
	if (starved)
		land_rest(f, i, ENOSPC);
	else
		wait_for_space(f, i);
}

/*
 * Who should have given it is away. Servers and lines come back: who waits goes on waiting until
 * his deadline, and it is asked for again and again. What nobody waits for has failed.
 */
static void wait_for_source(struct fetcher *f, uint32_t i, const struct error *err)
{
	struct served_blob *b = f->run.blob;
	bool wanted;

	pthread_mutex_lock(&b->engine->lock);
	if (f->run.level == PREFETCH)
		prefetch_rest_locked(b);
	wanted = fetch_leave_locked(f, i);
	if (wanted)
		fetch_rest_locked(b);
	queue_update_locked(b);
	pthread_mutex_unlock(&b->engine->lock);
	if (wanted)
		blob_tell_broken(b, err);
	else
		blob_tell_fault(b, err);
}

void fetch_rest_locked(struct served_blob *b)
{
	rest_locked(b, DEMAND, &b->away_pause);
}

/* What is left is for readers. That is no fault: prefetching tries it again later. */
static void leave_space(struct fetcher *f, uint32_t i, const struct error *err)
{
	struct served_blob *b = f->run.blob;

	log_debug("%s: prefetching leaves the rest to readers: %s", b->name, err->msg);
	pthread_mutex_lock(&b->engine->lock);
	prefetch_rest_locked(b);
	fetch_leave_locked(f, i);
	queue_update_locked(b);
	pthread_mutex_unlock(&b->engine->lock);
}

void fetch_give_up(struct fetcher *f, uint32_t i, const struct error *err)
{
	if (is_full(err) && f->run.level == PREFETCH)
		leave_space(f, i, err);
	else if (is_full(err))
		lack_space(f, i, err);
	else if (err->code == EAGAIN && !f->run.blob->removed)
		wait_for_source(f, i, err);
	else
		fail(f, i, err);
}

/* A little more fits nearly always: that is no end of it. */
static void found_room(struct fetcher *f)
{
	struct served_blob *b = f->run.blob;
	bool was;

	pthread_mutex_lock(&b->engine->lock);
	f->run.starved = b->starved;
	was = b->lacking && f->run.need >= b->lacking;
	if (was) {
		b->lacking = 0;
		b->starved = false;
		b->full_pause = 0;
		b->rest[DEMAND] = 0;
	}
	pthread_mutex_unlock(&b->engine->lock);
	if (was)
		log_event(EVENT_RECOVERY, b->name, FIELD("blob", &b->digest),
			FIELD("of", "there is space in the store again"));
}

int fetch_room(struct fetcher *f, uint64_t bytes, struct error **err)
{
	f->run.need = bytes;
	if (room_take(&f->run, bytes, err) < 0)
		return -1;
	found_room(f);
	return 0;
}

/*
 * One frame that fails is one that fails. The others go on, but not where nothing can be stored,
 * nor where its source was away when it was asked for it again.
 */
bool fetch_frame(struct fetcher *f, uint32_t i, const struct frame *frame, uint8_t *stored)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct served_blob *b = f->run.blob;

	if (!b->removed && store_frame(f, frame, stored, &err) == 0) {
		blob_tell_changed(b, frame->offset, frame->size);
		land(f, i, frame->size, 0);
		return true;
	}
	room_give_back(&f->run, frame->size);
	if (b->removed) {
		land_rest(f, i, EIO);
		return false;
	}
	if (is_full(err)) {
		lack_space(f, i, err);
		return false;
	}
	if (err->code == EAGAIN) {
		wait_for_source(f, i, err);
		return false;
	}
	blob_tell_fault(b, err);
	land(f, i, 0, EIO);
	return true;
}

static void store_frames(struct fetcher *f, uint64_t base, uint64_t *unused)
{
	const struct range_map *m = blob_map(f->run.blob);
	bool goes_on = true;

	for (uint32_t i = 0; i < f->run.n && goes_on; i++) {
		struct frame frame = range_map_frame(m, f->run.flights[i]->frame);

		if (i)
			turn_pass(f);
		*unused -= frame.size;
		goes_on = fetch_frame(f, i, &frame, f->stored.p + (frame.stored_offset - base));
	}
}

static void fetch_slice(struct fetcher *f)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct served_blob *b = f->run.blob;
	uint64_t unused = f->run.need;
	struct frame first, last;

	if (fetch_room(f, unused, &err) < 0) {
		fetch_give_up(f, 0, err);
		return;
	}
	first = range_map_frame(blob_map(b), f->run.first);
	last = range_map_frame(blob_map(b), f->run.end - 1);
	if (read_run(f, first.stored_offset,
		    last.stored_offset + last.stored_size - first.stored_offset, &err) == 0) {
		turn_take(f);
		store_frames(f, first.stored_offset, &unused);
		turn_give(f);
	} else {
		fetch_give_up(f, 0, err);
	}
	room_give_back(&f->run, unused);
}

void fetch_run(struct fetcher *f)
{
	if (f->run.streams)
		fetch_stream(f);
	else if (f->run.n)
		fetch_slice(f);
}
