/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* An engine between readers and a source that does as it is told. */
#ifndef TESTS_UNIT_ENGINE_FIXTURE_H
#define TESTS_UNIT_ENGINE_FIXTURE_H

#include "lib/base/log.h"
#include "lib/serve/engine/engine.h"
#include "tests/unit/engine_source.h"
#include "tests/unit/tmpdir.h"

enum { BLOCKS = 800 };

static inline struct engine_options options(unsigned fetchers, size_t slice)
{
	return (struct engine_options){
		.fetchers = fetchers, .slice_bytes = slice, .deadline = 100
	};
}

struct fixture {
	char *dir;
	struct store *store;
	struct sample samples[MAX_BLOBS];
	unsigned n;
	struct fake fake;
	struct engine *engine;
	struct served_blob *blobs[MAX_BLOBS];
	struct store_blob *caches[MAX_BLOBS]; /* the engine's */
	void (*completed)(void *fixture);
	void (*changed)(void *fixture, uint64_t offset, uint64_t len);
	void (*lost)(void *fixture);
};

static inline void must(bool ok, const struct error *err)
{
	if (ok)
		return;
	printf("Bail out! %s\n", err ? err->msg : "?");
	exit(99);
}

typedef struct range_map *index_opener(void *arg, struct blob_source *, struct error **);

static inline void add_blob_from(
	struct fixture *f, unsigned i, index_opener *open_index, struct blob_source *source)
{
	const struct sample *s = &f->samples[i];
	struct store_spec spec = {
		.digest = s->result.digest,
		.index = s->result.index_digest,
		.size = s->size,
		.n_frames = range_map_n_frames(s->map),
	};
	CLEANUP_ERROR struct error *err = NULL;
	struct served_blob_parts parts = { .open_index = open_index,
		.completed = f->completed,
		.changed = f->changed,
		.lost = f->lost,
		.arg = f };

	f->caches[i] = store_blob_open(f->store, &spec, &err);
	must(f->caches[i] != NULL, err);
	parts.cache = f->caches[i];
	parts.map = open_index ? NULL : sample_map(s);
	parts.source = source;
	parts.digest = s->result.digest;
	parts.name = "blob";
	f->blobs[i] = engine_add(f->engine, &parts);
}

static inline void add_blob(struct fixture *f, unsigned i, index_opener *open_index)
{
	add_blob_from(f, i, open_index, &f->fake.source);
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
	fake_init(&f->fake, f->samples, n);
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
