/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A source of samples that does as it is told: it waits, fails, lies, and writes down. */
#ifndef TESTS_UNIT_ENGINE_SOURCE_H
#define TESTS_UNIT_ENGINE_SOURCE_H

#include <errno.h>
#include <pthread.h>

#include "lib/serve/engine/source.h"
#include "tests/unit/engine_sample.h"

enum { MAX_BLOBS = 4, MAX_LOG = 4096 };

struct request {
	unsigned blob;
	uint64_t offset;
	size_t len;
	bool streams;
};

struct fake {
	struct blob_source source;
	const struct sample *samples;
	unsigned n_samples;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool closed; /* readers wait at the gate */
	unsigned permits; /* but so many of them */
	unsigned at_gate;
	unsigned fail; /* so many reads to come, ... */
	int fail_code; /* ... with this error; 0: EHOSTUNREACH */
	uint64_t corrupt; /* offset of a byte that is wrong */
	unsigned n_corrupt; /* in so many reads */
	bool liar; /* every byte is wrong, always */
	unsigned delay_us, blamed;
	unsigned cancelled[MAX_BLOBS]; /* so many times */
	uint64_t flow; /* bytes that a stream may give so far, ... */
	uint64_t own_from, own_flow; /* ... but the one that begins at this byte */
	unsigned standing; /* streams at that point */
	unsigned streams, streams_most; /* that are open; and have been at once */
	unsigned break_n; /* so many streams to come ... */
	uint64_t break_after; /* ... end after so many bytes, ... */
	int break_code; /* ... with this error, or (0) as if it were the last one */
	unsigned n;
	struct request log[MAX_LOG];
};

/* False: the read was given up. */
static inline bool fake_pass_gate(struct fake *f, unsigned blob)
{
	unsigned before = f->cancelled[blob];

	f->at_gate++;
	pthread_cond_broadcast(&f->changed);
	while (f->closed && !f->permits && f->cancelled[blob] == before)
		pthread_cond_wait(&f->changed, &f->lock);
	f->at_gate--;
	if (f->cancelled[blob] != before)
		return false;
	if (f->closed)
		f->permits--;
	return true;
}

static inline unsigned fake_find(const struct fake *f, const struct digest *blob)
{
	unsigned i = 0;

	while (i < f->n_samples && !digest_equal(&f->samples[i].result.digest, blob))
		i++;
	return i;
}

static inline int fake_read(struct blob_source *source, const struct digest *blob, uint64_t offset,
	void *buf, size_t len, struct error **err)
{
	struct fake *f = (struct fake *)source;
	unsigned i = fake_find(f, blob);
	bool fails, lies, goes_on;

	if (i == f->n_samples || offset + len > f->samples[i].result.size)
		return error_set(err, 0, "nothing there");
	pthread_mutex_lock(&f->lock);
	if (f->n < MAX_LOG)
		f->log[f->n] = (struct request){ .blob = i, .offset = offset, .len = len };
	f->n++;
	goes_on = fake_pass_gate(f, i);
	fails = f->fail > 0;
	f->fail -= fails;
	lies = f->n_corrupt && f->corrupt >= offset && f->corrupt - offset < len;
	f->n_corrupt -= lies;
	pthread_mutex_unlock(&f->lock);
	if (!goes_on)
		return error_set(err, ECANCELED, "given up");
	if (f->delay_us)
		usleep(f->delay_us);
	if (fails)
		return error_set(
			err, f->fail_code ? f->fail_code : EHOSTUNREACH, "the source fails");
	memcpy(buf, f->samples[i].stored + offset, len);
	if (lies)
		((uint8_t *)buf)[f->corrupt - offset] ^= 1;
	for (size_t k = 0; f->liar && k < len; k++)
		((uint8_t *)buf)[k] ^= 1;
	return 0;
}

struct fake_stream {
	struct stream stream;
	struct fake *fake;
	unsigned blob, cancelled;
	uint64_t first, at, end, break_at;
};

/* So many bytes it may give now. */
static inline uint64_t fake_stream_has(const struct fake_stream *s)
{
	const struct fake *f = s->fake;
	uint64_t flow = f->own_flow && s->first == f->own_from ? f->own_flow : f->flow;
	uint64_t rest = s->end - s->at, given = s->at - s->first;

	if (flow - given < rest && flow > given)
		return flow - given;
	return flow > given ? rest : 0;
}

/* With the lock. Bytes, or -1: it was given up. */
static inline ssize_t fake_stream_wait(struct fake_stream *s, size_t len)
{
	struct fake *f = s->fake;
	uint64_t n;

	f->standing++;
	pthread_cond_broadcast(&f->changed);
	while (!(n = fake_stream_has(s)) && f->cancelled[s->blob] == s->cancelled)
		pthread_cond_wait(&f->changed, &f->lock);
	f->standing--;
	if (f->cancelled[s->blob] != s->cancelled)
		return -1;
	if (n > s->break_at - s->at)
		n = s->break_at - s->at;
	return (ssize_t)(n < len ? n : len);
}

/* Never more than a part of a frame. */
static inline ssize_t fake_stream_read(
	struct stream *stream, void *buf, size_t len, struct error **err)
{
	struct fake_stream *s = (struct fake_stream *)stream;
	struct fake *f = s->fake;
	ssize_t n = 0;
	bool lies;

	if (s->at == s->end)
		return 0;
	pthread_mutex_lock(&f->lock);
	n = fake_stream_wait(s, len < 7001 ? len : 7001);
	lies = n > 0 && f->n_corrupt && f->corrupt >= s->at && f->corrupt - s->at < (size_t)n;
	f->n_corrupt -= lies;
	pthread_mutex_unlock(&f->lock);
	if (n < 0)
		return error_set(err, ECANCELED, "given up");
	if (n == 0 && f->break_code)
		return error_set(err, f->break_code, "the stream breaks");
	memcpy(buf, f->samples[s->blob].stored + s->at, (size_t)n);
	if (lies)
		((uint8_t *)buf)[f->corrupt - s->at] ^= 1;
	for (ssize_t k = 0; f->liar && k < n; k++)
		((uint8_t *)buf)[k] ^= 1;
	s->at += (uint64_t)n;
	return n;
}

static inline bool fake_stream_ready(struct stream *stream, void (*wake)(void *), void *arg)
{
	struct fake_stream *s = (struct fake_stream *)stream;
	bool ready;

	(void)wake, (void)arg; /* nobody here asks to be told */
	pthread_mutex_lock(&s->fake->lock);
	ready = s->at == s->end || fake_stream_has(s);
	pthread_mutex_unlock(&s->fake->lock);
	return ready;
}

static inline void fake_stream_open(struct fake_stream *s)
{
	struct fake *f = s->fake;

	pthread_mutex_lock(&f->lock);
	s->cancelled = f->cancelled[s->blob];
	s->break_at = f->break_n ? s->at + f->break_after : UINT64_MAX;
	f->break_n -= f->break_n > 0;
	if (f->n < MAX_LOG)
		f->log[f->n] = (struct request){ s->blob, s->at, (size_t)(s->end - s->at), true };
	f->n++;
	if (++f->streams > f->streams_most)
		f->streams_most = f->streams;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static inline int fake_stream(struct blob_source *source, const struct digest *blob,
	uint64_t offset, uint64_t len, const struct stream_user *user, struct error **err)
{
	struct fake *f = (struct fake *)source;
	struct fake_stream s = {
		.stream = { .read = fake_stream_read, .ready = fake_stream_ready },
		.fake = f,
		.blob = fake_find(f, blob),
		.first = offset,
		.at = offset,
		.end = offset + len,
	};
	int rc;

	if (s.blob == f->n_samples || s.end > f->samples[s.blob].result.size)
		return error_set(err, 0, "nothing there");
	fake_stream_open(&s);
	rc = user->use(user->arg, &s.stream, err);
	pthread_mutex_lock(&f->lock);
	f->streams--;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	return rc;
}

static inline void fake_blame(struct blob_source *source)
{
	struct fake *f = (struct fake *)source;

	pthread_mutex_lock(&f->lock);
	f->blamed++;
	pthread_mutex_unlock(&f->lock);
}

static inline void fake_cancel(struct blob_source *source, const struct digest *blob)
{
	struct fake *f = (struct fake *)source;

	pthread_mutex_lock(&f->lock);
	f->cancelled[fake_find(f, blob)]++;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static inline void fake_init(struct fake *f, const struct sample *samples, unsigned n)
{
	*f = (struct fake){ .samples = samples, .n_samples = n };
	f->source = (struct blob_source){
		.read = fake_read, .blame = fake_blame, .cancel = fake_cancel
	};
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
}

/* From now on long ranges come as streams, of which each may give so many bytes. */
static inline void fake_streams(struct fake *f, uint64_t flow)
{
	f->source.stream = fake_stream;
	f->flow = flow;
}

/* The same for those that are under way; but one of them may give so many. */
static inline void fake_flow(struct fake *f, uint64_t flow, uint64_t own_from, uint64_t own_flow)
{
	pthread_mutex_lock(&f->lock);
	f->flow = flow;
	f->own_from = own_from;
	f->own_flow = own_flow;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static inline void fake_wait_standing(struct fake *f, unsigned n)
{
	pthread_mutex_lock(&f->lock);
	while (f->standing < n)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static inline void fake_gate(struct fake *f, bool closed)
{
	pthread_mutex_lock(&f->lock);
	f->closed = closed;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static inline void fake_permit(struct fake *f, unsigned n)
{
	pthread_mutex_lock(&f->lock);
	f->permits += n;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

/* Until so many stand at the gate. */
static inline void fake_wait(struct fake *f, unsigned at_gate)
{
	pthread_mutex_lock(&f->lock);
	while (f->at_gate < at_gate)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static inline void fake_wait_requests(struct fake *f, unsigned n)
{
	pthread_mutex_lock(&f->lock);
	while (f->n < n)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static inline unsigned fake_requests(struct fake *f)
{
	unsigned n;

	pthread_mutex_lock(&f->lock);
	n = f->n;
	pthread_mutex_unlock(&f->lock);
	return n;
}

#endif
