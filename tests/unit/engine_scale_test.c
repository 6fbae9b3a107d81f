// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A thousand blobs at once: what each of them takes, and how many threads all of them (linked with
 * --wrap=fdatasync).
 */
#include "config.h"

#include <malloc.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "lib/serve/engine/part.h"
#include "tests/unit/engine_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
enum { MANY = 200 }; /* they are slow, and count no bytes */
#else
enum { MANY = 1000 };
#endif

enum {
	SMALL = 100, /* blocks of each */
	FETCHERS = 8,
	IDLE_MAX = 1536, /* bytes that a blob may take of which nothing was wanted */
};

int __wrap_fdatasync(int fd);

/* What a disk does with so many files is not the question here. */
int __wrap_fdatasync(int fd)
{
	return 0;
}

static const struct sample *the_sample; /* all of them have these bytes */
static struct served_blob *blobs[MANY];
static struct want wants[MANY];
static atomic_uint answered, failed, completed;

static int read_the_sample(struct blob_source *s, const struct digest *blob, uint64_t offset,
	void *buf, size_t len, struct error **err)
{
	memcpy(buf, the_sample->stored + offset, len);
	return 0;
}

static struct range_map *load_index(void *arg, struct blob_source *source, struct error **err)
{
	return sample_map(the_sample);
}

static void count_completed(void *arg)
{
	completed++;
}

static void count_answer(struct want *w, int error)
{
	failed += error != 0;
	answered++;
}

/* Of all arenas, and what was mapped. */
static size_t allocated(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static unsigned threads(void)
{
	CLEANUP_FREE char *line = NULL;
	size_t size = 0;
	unsigned n = 0;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && getline(&line, &size, f) > 0)
		if (sscanf(line, "Threads: %u", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

/* Each blob has a few descriptors in the store. */
static bool have_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_max < 8 * MANY)
		return false;
	l.rlim_cur = l.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &l) == 0;
}

static struct store_blob *open_cache(const struct fixture *f, uint32_t i)
{
	struct store_spec spec = {
		.digest = the_sample->result.digest,
		.index = the_sample->result.index_digest,
		.size = the_sample->size,
		.n_frames = range_map_n_frames(the_sample->map),
	};
	CLEANUP_ERROR struct error *err = NULL;
	struct store_blob *cache;

	memcpy(spec.digest.bytes, &i, sizeof(i));
	cache = store_blob_open(f->store, &spec, &err);
	must(cache != NULL, err);
	return cache;
}

static void add_all(const struct fixture *f, struct blob_source *source, struct store_blob **caches)
{
	for (uint32_t i = 0; i < MANY; i++) {
		struct served_blob_parts parts = {
			.cache = caches[i],
			.open_index = load_index,
			.completed = count_completed,
			.source = source,
			.digest = the_sample->result.digest,
			.name = "blob",
		};

		blobs[i] = engine_add(f->engine, &parts);
	}
}

static void want_of_all(uint64_t offset, uint64_t len)
{
	answered = failed = 0;
	for (unsigned i = 0; i < MANY; i++) {
		wants[i] = (struct want){ .done = count_answer };
		engine_want(blobs[i], offset, len, &wants[i]);
	}
	EVENTUALLY(answered == MANY);
	CHECK_U64(failed, 0);
}

static bool all_maps_are_gone(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MANY; i++)
		n += blob_map(blobs[i]) != NULL;
	return n == 0;
}

/* What is allocated, but for the buffers of fetchers, which go a few seconds after their use. */
static void check_memory(size_t before, size_t each, const char *when)
{
	size_t now = allocated(), took = now > before ? now - before : 0;

#ifdef SANITIZED
	return;
#endif
	for (unsigned i = 0; i < 6000 && took > MANY * each; i++) {
		usleep(10000);
		now = allocated();
		took = now > before ? now - before : 0;
	}
	printf("# %s: %zu bytes a blob\n", when, took / MANY);
	CHECK(took <= MANY * each);
}

static void a_thousand_blobs_take_little_memory_and_no_threads(void)
{
	struct engine_options o = options(FETCHERS, 4 * 1024 * 1024);
	struct blob_source source = { .read = read_the_sample };
	static struct store_blob *caches[MANY];
	struct fixture f;
	unsigned idle;
	size_t before;

	if (!have_descriptors()) {
		printf("# SKIP: too few file descriptors\n");
		return;
	}
	idle = threads();
	begin(&f, 1, SMALL, &o, 0, false);
	the_sample = &f.samples[0];
	for (unsigned i = 0; i < MANY; i++)
		caches[i] = open_cache(&f, i);
	before = allocated();
	add_all(&f, &source, caches);
	check_memory(before, IDLE_MAX, "idle");
	CHECK_U64(threads(), idle + FETCHERS + 2); /* and the clock, and the syncer */

	want_of_all(0, 1);
	CHECK_U64(threads(), idle + FETCHERS + 2);
	want_of_all(0, UINT64_MAX);
	EVENTUALLY(completed == MANY && all_maps_are_gone());
	CHECK_U64(stats(&f).blobs_complete, MANY);
	CHECK_U64(stats(&f).bytes_missing, 0);
	check_memory(before, IDLE_MAX, "complete");
	CHECK_U64(threads(), idle + FETCHERS + 2);
	for (unsigned i = 0; i < MANY; i++)
		engine_remove(blobs[i]);
	end(&f);
}

int main(void)
{
	alarm(500); /* who is never answered hangs */
	RUN(a_thousand_blobs_take_little_memory_and_no_threads);
	return tap_done();
}
