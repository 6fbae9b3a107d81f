// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A long request's bytes to frames, each as soon as it has come: nobody waits for all of them, and
 * no more is in memory than what is being worked on. Who wants a frame that the stream will come to
 * late takes it away from it (queue.c). While somebody waits for other frames, prefetching reads no
 * further, but for the one that was begun first.
 */
#include "config.h"

#include <errno.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/engine/part.h"

enum {
	PAUSE = 2 * 1000 * 1000, /* microseconds, of a run in all: servers do not wait for ever */
	MOMENT = 100 * 1000, /* until it is looked whether the blob is still wanted */
	BIT = 64 * 1024, /* bytes, of what is not wanted */
};

struct pour {
	struct fetcher *f;
	struct stream *stream;
	uint64_t at; /* the next byte that the stream gives, as stored */
	uint32_t i; /* the next flight */
	bool turn;
};

static void give_turn(struct pour *p)
{
	if (p->turn)
		turn_give(p->f);
	p->turn = false;
}

/* At least one byte. Nobody who waits for bytes keeps his turn. */
static ssize_t read_some(struct pour *p, uint8_t *buf, size_t len, struct error **err)
{
	ssize_t n;

	if (p->turn && !stream_ready(p->stream, NULL, NULL))
		give_turn(p);
	n = p->stream->read(p->stream, buf, len, err);
	if (n == 0)
		return error_set(err, 0, "its source ends in the middle");
	if (n < 0)
		return -1;
	p->at += (uint64_t)n;
	count_add(p->f->run.blob, COUNT_BYTES, (uint64_t)n);
	return n;
}

/* Some of what others have fetched meanwhile, before `offset`. */
static int skip_some(struct pour *p, uint64_t offset, struct error **err)
{
	size_t n = offset - p->at < BIT ? (size_t)(offset - p->at) : BIT;

	fetcher_need(&p->f->stored, n);
	return read_some(p, p->f->stored.p, n, err) < 0 ? -1 : 0;
}

static int read_frame(struct pour *p, const struct frame *frame, struct error **err)
{
	size_t done = 0;

	fetcher_need(&p->f->stored, frame->stored_size);
	while (done < frame->stored_size) {
		ssize_t n = read_some(p, p->f->stored.p + done, frame->stored_size - done, err);

		if (n < 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

static bool has_precedence(const struct fetcher *f)
{
	const struct engine *e = f->engine;

	for (unsigned i = 0; i < e->options.fetchers; i++) {
		const struct run *r = &e->fetchers[i].run;

		if (r->blob && r->level == PREFETCH && r->number < f->run.number)
			return false;
	}
	return true;
}

static bool must_wait(const struct fetcher *f)
{
	const struct engine *e = f->engine;

	return f->run.level == PREFETCH && e->busy[DEMAND] && f->run.paused < PAUSE &&
	       !e->stopping && !f->run.blob->removed && !has_precedence(f) &&
	       !run_is_waited_for(&f->run);
}

static void let_others_go_first(struct pour *p)
{
	struct engine *e = p->f->engine;
	bool wait;

	pthread_mutex_lock(&e->lock);
	wait = must_wait(p->f);
	pthread_mutex_unlock(&e->lock);
	if (!wait)
		return;
	give_turn(p);
	pthread_mutex_lock(&e->lock);
	while (must_wait(p->f)) {
		uint64_t now = engine_now();

		engine_wait_locked(e, &e->calm, now + MOMENT);
		p->f->run.paused += engine_now() - now;
	}
	pthread_mutex_unlock(&e->lock);
}

/* The next frame that is still this run's. Once its bytes are those that come now, nobody takes it
 * away any more. */
static bool find_next(struct pour *p, struct frame *frame)
{
	struct run *r = &p->f->run;
	struct engine *e = p->f->engine;
	bool found;

	pthread_mutex_lock(&e->lock);
	while (p->i < r->n && !r->flights[p->i])
		p->i++;
	r->at = p->i;
	r->reached = p->at;
	found = p->i < r->n;
	if (found)
		*frame = range_map_frame(blob_map(r->blob), r->flights[p->i]->frame);
	pthread_mutex_unlock(&e->lock);
	return found;
}

static bool store_frame(struct pour *p, const struct frame *frame)
{
	CLEANUP_ERROR struct error *err = NULL;

	if (fetch_room(p->f, frame->size, &err) < 0) {
		fetch_give_up(p->f, p->i, err);
		return false;
	}
	if (p->turn)
		turn_pass(p->f);
	else
		turn_take(p->f);
	p->turn = true;
	return fetch_frame(p->f, p->i, frame, p->f->stored.p);
}

static int pour(void *arg, struct stream *stream, struct error **err)
{
	struct pour *p = arg;
	const struct run *r = &p->f->run;
	struct frame frame;

	p->stream = stream;
	for (bool goes_on = true; goes_on && p->i < r->n;) {
		let_others_go_first(p);
		if (!find_next(p, &frame))
			break;
		if (p->at < frame.stored_offset) {
			if (skip_some(p, frame.stored_offset, err) < 0)
				return -1;
			continue;
		}
		if (read_frame(p, &frame, err) < 0)
			return -1;
		blob_tell_answer(r->blob, true);
		goes_on = store_frame(p, &frame);
		p->i++;
	}
	return 0;
}

/*
 * What is left is asked for again, by whoever waits for it or comes to it. A try failed, no more:
 * it may be well elsewhere.
 */
static void break_off(struct pour *p, const struct error *err)
{
	struct served_blob *b = p->f->run.blob;
	bool given_up = err->code == ECANCELED;

	log_debug("%s: %s", b->name, err->msg);
	if (!given_up) {
		blob_tell_answer(b, false);
		blob_tell_broken(b, err);
	}
	pthread_mutex_lock(&b->engine->lock);
	if (!given_up && p->f->run.level == PREFETCH)
		prefetch_rest_locked(b);
	fetch_leave_locked(p->f, p->i);
	queue_update_locked(b);
	pthread_mutex_unlock(&b->engine->lock);
}

void fetch_stream(struct fetcher *f)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct served_blob *b = f->run.blob;
	struct frame first = range_map_frame(blob_map(b), f->run.first);
	struct frame last = range_map_frame(blob_map(b), f->run.end - 1);
	struct pour p = { .f = f, .at = first.stored_offset };
	const struct stream_user user = { pour, &p };

	if (fetch_room(f, first.size, &err) < 0) { /* rather than to ask in vain */
		fetch_give_up(f, 0, err);
		return;
	}
	room_give_back(&f->run, first.size); /* for the frames, as they come */
	count_add(b, COUNT_REQUESTS, 1);
	if (source_stream(b->source, &b->digest, p.at, last.stored_offset + last.stored_size - p.at,
		    &user, &err) < 0)
		break_off(&p, err);
	give_turn(&p);
}
