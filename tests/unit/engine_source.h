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
	unsigned fail; /* so many reads to come */
	uint64_t corrupt; /* offset of a byte that is wrong */
	unsigned n_corrupt; /* in so many reads */
	unsigned delay_us, blamed;
	unsigned cancelled[MAX_BLOBS]; /* so many times */
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
		f->log[f->n] = (struct request){ i, offset, len };
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
		return error_set(err, EHOSTUNREACH, "the source fails");
	memcpy(buf, f->samples[i].stored + offset, len);
	if (lies)
		((uint8_t *)buf)[f->corrupt - offset] ^= 1;
	return 0;
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
