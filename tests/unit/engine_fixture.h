/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A blob as convert writes it, a source that does as it is told, and an engine between. */
#ifndef TESTS_UNIT_ENGINE_FIXTURE_H
#define TESTS_UNIT_ENGINE_FIXTURE_H

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "fmt/chunk_index.h"
#include "fmt/erofs.h"
#include "lib/base/log.h"
#include "lib/blob/writer.h"
#include "lib/serve/engine/engine.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

enum { BLOCK = 4096, FRAME = 4 * BLOCK, MAX_BLOBS = 4, MAX_LOG = 4096 };

/* --- blobs --- */

struct sample {
	struct blob_result result;
	uint8_t *stored, *content;
	size_t size; /* of the device */
	struct range_map *map; /* the test's own */
};

struct writing {
	struct job job;
	struct sample *sample;
	struct blob_flow *flow;
	struct blob_writer *writer;
	struct outfile *file;
	unsigned blocks;
	uint64_t seed;
};

static inline void write_failed(void *arg, struct error *e)
{
	printf("Bail out! %s\n", e->msg);
	exit(99);
}

static inline void write_blocks(struct job *job)
{
	struct writing *w = (struct writing *)job;
	uint8_t *block = w->sample->content;

	w->writer = blob_writer_new(w->flow, w->file, true, 0);
	erofs_empty_image(block);
	for (unsigned i = 0; i < w->blocks; i++) {
		block += BLOCK;
		for (size_t at = 0; at < BLOCK; at += 8) {
			uint64_t v = random_u64(&w->seed);

			memcpy(block + at, &v, 8);
		}
		blob_writer_append(w->writer, block, BLOCK);
	}
	blob_writer_finish(w->writer);
}

static inline struct range_map *sample_map(const struct sample *s)
{
	CLEANUP_ERROR struct error *err = NULL;
	const struct blob_result *r = &s->result;
	size_t len = r->index_end - r->index_offset - CHUNK_INDEX_SKIPPABLE;
	const uint8_t *at = s->stored + r->index_offset + CHUNK_INDEX_SKIPPABLE;
	struct range_map *m = range_map_new(
		xmemdup(at, len), len, r->index_offset, s->size, &r->index_digest, &err);

	if (!m) {
		printf("Bail out! %s\n", err->msg);
		exit(99);
	}
	return m;
}

/* Random bytes: as stored, frames are as large as they are, 16 KiB and a little. */
static inline struct sample sample_make(const char *dir, unsigned blocks, uint64_t seed)
{
	const struct blob_format format = { .zstd = true, .level = 1, .frame_size = FRAME };
	struct sample s = { .size = (blocks + 1) * (size_t)BLOCK };
	struct writing w = { { .run = write_blocks }, .sample = &s, .blocks = blocks,
		.seed = seed };
	struct error *err = NULL;
	struct strand feeder;
	struct blob_flow_ops ops = { .feeder = &feeder, .failed = write_failed };

	s.content = xcalloc(blocks + 1, BLOCK);
	ops.workers = workers_start(1, &err);
	strand_init(&feeder, ops.workers, 0);
	w.flow = blob_flow_new(&ops, &format, 4);
	w.file = outfile_new(dir, &err);
	strand_post(&feeder, &w.job);
	workers_wait(ops.workers);
	w.file = blob_writer_take(w.writer, &s.result);
	s.stored = xmalloc(s.result.size);
	CHECK_U64((uint64_t)pread(outfile_fd(w.file), s.stored, s.result.size, 0), s.result.size);
	outfile_free(w.file);
	blob_writer_free(w.writer);
	blob_flow_free(w.flow);
	workers_stop(ops.workers);
	s.map = sample_map(&s);
	return s;
}

static inline void sample_free(struct sample *s)
{
	range_map_free(s->map);
	free(s->stored);
	free(s->content);
}

/* --- the source --- */

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
	unsigned n;
	struct request log[MAX_LOG];
};

static inline void fake_pass_gate(struct fake *f)
{
	f->at_gate++;
	pthread_cond_broadcast(&f->changed);
	while (f->closed && !f->permits)
		pthread_cond_wait(&f->changed, &f->lock);
	if (f->closed)
		f->permits--;
	f->at_gate--;
}

static inline int fake_read(struct blob_source *source, const struct digest *blob, uint64_t offset,
	void *buf, size_t len, struct error **err)
{
	struct fake *f = (struct fake *)source;
	bool fails, lies;
	unsigned i = 0;

	while (i < f->n_samples && !digest_equal(&f->samples[i].result.digest, blob))
		i++;
	if (i == f->n_samples || offset + len > f->samples[i].result.size)
		return error_set(err, 0, "nothing there");
	pthread_mutex_lock(&f->lock);
	if (f->n < MAX_LOG)
		f->log[f->n] = (struct request){ i, offset, len };
	f->n++;
	fake_pass_gate(f);
	fails = f->fail > 0;
	f->fail -= fails;
	lies = f->n_corrupt && f->corrupt >= offset && f->corrupt - offset < len;
	f->n_corrupt -= lies;
	pthread_mutex_unlock(&f->lock);
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

/* --- all of it --- */

struct fixture {
	char *dir;
	struct store *store;
	struct sample samples[MAX_BLOBS];
	unsigned n;
	struct fake fake;
	struct engine *engine;
	struct served_blob *blobs[MAX_BLOBS];
	struct store_blob *caches[MAX_BLOBS]; /* the engine's */
};

static inline void must(bool ok, const struct error *err)
{
	if (ok)
		return;
	printf("Bail out! %s\n", err ? err->msg : "?");
	exit(99);
}

static inline void add_blob(
	struct fixture *f, unsigned i, struct range_map *(*open_index)(void *, struct error **))
{
	const struct sample *s = &f->samples[i];
	struct store_spec spec = {
		.digest = s->result.digest,
		.index = s->result.index_digest,
		.size = s->size,
		.n_frames = range_map_n_frames(s->map),
	};
	CLEANUP_ERROR struct error *err = NULL;
	struct served_blob_parts parts = { .open_index = open_index, .arg = f };

	f->caches[i] = store_blob_open(f->store, &spec, &err);
	must(f->caches[i] != NULL, err);
	parts.cache = f->caches[i];
	parts.map = open_index ? NULL : sample_map(s);
	parts.source = &f->fake.source;
	parts.digest = s->result.digest;
	parts.name = "blob";
	f->blobs[i] = engine_add(f->engine, &parts);
}

/* n blobs of so many blocks; `add`: they are added to the engine. */
static inline void begin(struct fixture *f, unsigned n, unsigned blocks,
	const struct engine_options *o, uint64_t limit, bool add)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *at = NULL;

	*f = (struct fixture){ .dir = tmpdir_make(), .n = n };
	at = xasprintf("%s/store", f->dir);
	f->store = store_open(at, limit, &err);
	must(f->store != NULL, err);
	for (unsigned i = 0; i < n; i++)
		f->samples[i] = sample_make(f->dir, blocks, i + 1);
	f->fake.source = (struct blob_source){ .read = fake_read, .blame = fake_blame };
	f->fake.samples = f->samples;
	f->fake.n_samples = n;
	pthread_mutex_init(&f->fake.lock, NULL);
	pthread_cond_init(&f->fake.changed, NULL);
	f->engine = engine_start(o, &err);
	must(f->engine != NULL, err);
	for (unsigned i = 0; add && i < n; i++)
		add_blob(f, i, NULL);
}

static inline void remove_blob(struct fixture *f, unsigned i)
{
	engine_remove(f->blobs[i]);
	f->blobs[i] = NULL;
}

static inline void end(struct fixture *f)
{
	for (unsigned i = 0; i < f->n; i++)
		remove_blob(f, i);
	engine_stop(f->engine);
	store_close(f->store);
	for (unsigned i = 0; i < f->n; i++)
		sample_free(&f->samples[i]);
	cleanup_tmpdir_(&f->dir);
}

static inline struct frame frame_of(const struct fixture *f, unsigned blob, uint32_t i)
{
	return range_map_frame(f->samples[blob].map, i);
}

static inline bool is_right(const struct fixture *f, unsigned blob, uint64_t offset, size_t len)
{
	CLEANUP_FREE uint8_t *got = xmalloc(len);

	return pread(served_blob_fd(f->blobs[blob]), got, len, (off_t)offset) == (ssize_t)len &&
	       memcmp(got, f->samples[blob].content + offset, len) == 0;
}

static inline bool all_right(const struct fixture *f, unsigned blob)
{
	return is_right(f, blob, 0, f->samples[blob].size);
}

/* One byte of the frame, and wait. */
static inline int need_frame(const struct fixture *f, unsigned blob, uint32_t i)
{
	struct frame frame = frame_of(f, blob, i);

	return engine_need(f->blobs[blob], frame.offset + frame.size / 2, 1);
}

/* Who wants, and does not wait. */
struct ask {
	struct want want;
	pthread_mutex_t lock;
	pthread_cond_t answered;
	bool done;
	int error;
};

static inline void ask_done(struct want *w, int error)
{
	struct ask *a = (struct ask *)w;

	pthread_mutex_lock(&a->lock);
	CHECK(!a->done);
	a->done = true;
	a->error = error;
	pthread_cond_signal(&a->answered);
	pthread_mutex_unlock(&a->lock);
}

static inline void ask(struct ask *a, struct served_blob *b, uint64_t offset, uint64_t len)
{
	*a = (struct ask){ .want.done = ask_done };
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->answered, NULL);
	engine_want(b, offset, len, &a->want);
}

static inline void ask_frame(struct ask *a, const struct fixture *f, unsigned blob, uint32_t i)
{
	ask(a, f->blobs[blob], frame_of(f, blob, i).offset, 1);
}

static inline bool ask_is_done(struct ask *a)
{
	bool done;

	pthread_mutex_lock(&a->lock);
	done = a->done;
	pthread_mutex_unlock(&a->lock);
	return done;
}

static inline int ask_wait(struct ask *a)
{
	pthread_mutex_lock(&a->lock);
	while (!a->done)
		pthread_cond_wait(&a->answered, &a->lock);
	pthread_mutex_unlock(&a->lock);
	return a->error;
}

static inline struct engine_stats stats(const struct fixture *f)
{
	struct engine_stats s;

	engine_stats(f->engine, &s);
	return s;
}

/* Until it is so; a minute is for ever. */
#define EVENTUALLY(cond)                                                       \
	do {                                                                   \
		for (unsigned tries_ = 0; tries_ < 12000 && !(cond); tries_++) \
			usleep(5000);                                          \
		CHECK(cond);                                                   \
	} while (0)

#endif
