// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Data blobs as files: frames in order, figures right, bounded, and failing once. */
#include "config.h"

#include "fmt/chunk_index.h"
#include "fmt/erofs.h"
#include "lib/base/mem.h"
#include "lib/blob/decoder.h"
#include "lib/blob/writer.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <zstd.h>

enum { BLOCK = 4096, FRAME = 4 * BLOCK };

/* What every test does with raw blobs, it does with compressed ones, too. */
static bool zstd;

struct run {
	char *dir;
	struct workers *workers;
	struct strand feeder;
	struct blob_flow *flow;
	struct blob_writer *writer;
	struct outfile *file; /* the writer's */
	uint8_t *want; /* what the file must be */
	size_t n, cap;
	unsigned max_frames, over; /* jobs that began with too many frames under way */
	uint64_t seed;
	atomic_uint failures, finished;
	struct error *failure;
};

struct feed {
	struct job job;
	struct run *run;
	unsigned blocks;
	bool last;
};

static void failed(void *arg, struct error *e)
{
	struct run *r = arg;

	if (r->failures++ == 0)
		r->failure = e;
	else
		error_free(e);
}

static void finished(void *arg, struct blob_writer *w, unsigned number)
{
	struct run *r = arg;

	CHECK_U64(number, 7);
	CHECK(w == r->writer);
	r->finished++;
}

static void run_start(struct run *r, unsigned threads, unsigned max_frames)
{
	const struct blob_format format = { .zstd = zstd, .level = 3, .frame_size = FRAME };
	struct blob_flow_ops ops = { .feeder = &r->feeder, .failed = failed, .arg = r };
	struct error *err = NULL;

	*r = (struct run){ .dir = tmpdir_make(), .max_frames = max_frames, .seed = 10 };
	r->workers = workers_start(threads, &err);
	strand_init(&r->feeder, r->workers, 4); /* as urgent as writing: worse than in life */
	ops.workers = r->workers;
	ops.finished = finished;
	r->flow = blob_flow_new(&ops, &format, max_frames);
}

static void open_writer(struct run *r)
{
	struct error *err = NULL;

	r->file = outfile_new(r->dir, &err);
	r->writer = blob_writer_new(r->flow, r->file, true, 7);
	r->want = xrealloc_array(r->want, r->cap = BLOCK, 1);
	erofs_empty_image(r->want);
	r->n = BLOCK;
}

static void run_end(struct run *r)
{
	blob_flow_free(r->flow);
	workers_stop(r->workers);
	error_free(r->failure);
	free(r->want);
	cleanup_tmpdir_(&r->dir);
}

static void append(struct run *r, size_t len)
{
	uint8_t block[BLOCK];

	for (size_t i = 0; i + 8 <= BLOCK; i += 8) {
		uint64_t v = random_u64(&r->seed);

		memcpy(block + i, &v, 8);
	}
	blob_writer_append(r->writer, block, len);
	if (r->cap - r->n < BLOCK)
		r->want = xrealloc_array(r->want, r->cap = r->cap * 2, 1);
	memcpy(r->want + r->n, block, len);
	memset(r->want + r->n + len, 0, BLOCK - len);
	r->n += BLOCK;
}

/* Frames that were begun and are not yet in the file: a lower bound of what is under way. */
static unsigned frames_under_way(const struct run *r)
{
	size_t begun = 1 + (r->n - BLOCK + FRAME - 1) / FRAME, written;
	struct stat st;

	if (zstd) /* the file does not tell */
		return 0;
	fstat(outfile_fd(r->file), &st);
	written = st.st_size ? 1 + ((size_t)st.st_size - BLOCK) / FRAME : 0;
	return (unsigned)(begun - written);
}

static void run_feed(struct job *job)
{
	struct feed *f = (struct feed *)job;

	if (!f->run->writer)
		open_writer(f->run);
	else
		f->run->over += frames_under_way(f->run) >= f->run->max_frames;
	for (unsigned i = 0; i < f->blocks; i++)
		append(f->run, random_below(&f->run->seed, 3)
				       ? BLOCK
				       : 1 + random_below(&f->run->seed, BLOCK));
	if (f->last)
		blob_writer_finish(f->run->writer);
}

/* Jobs of 0 to max_blocks blocks on the feeder, until all is written. */
static void feed(struct run *r, unsigned jobs, unsigned max_blocks)
{
	struct feed *f = xcalloc(jobs, sizeof(*f));
	uint64_t seed = jobs;

	for (unsigned i = 0; i < jobs; i++) {
		f[i] = (struct feed){ { .run = run_feed }, r, random_below(&seed, max_blocks + 1),
			i + 1 == jobs };
		strand_post(&r->feeder, &f[i].job);
	}
	workers_wait(r->workers);
	free(f);
}

/* The file is the device. */
static void check_raw(const struct run *r, const struct blob_result *result, const uint8_t *got)
{
	CHECK_U64(result->size, r->n);
	CHECK(digest_equal(&result->diff_id, &result->digest));
	CHECK(!memcmp(got, r->want, r->n));
}

/* One frame, by the index, is one zstd frame and holds what it should. */
static void check_frame(const struct run *r, const struct frame *f, const uint8_t *got)
{
	CLEANUP_DECODER struct decoder *d = decoder_new();
	struct error *err = NULL;
	uint8_t out[FRAME];

	CHECK(f->size <= FRAME && f->offset + f->size <= r->n);
	CHECK(f->number || f->size == BLOCK); /* the constant block stands alone */
	CHECK(frame_verify(f, got + f->stored_offset, &err) == 0);
	CHECK(decoder_decode(d, f, got + f->stored_offset, out, &err) == 0);
	CHECK(!memcmp(out, r->want + f->offset, f->size));
}

static void check_zstd(const struct run *r, const struct blob_result *result, const uint8_t *got)
{
	size_t payload = result->index_end - result->index_offset - CHUNK_INDEX_SKIPPABLE;
	CLEANUP_FREE uint8_t *all = xmalloc(r->n + 1);
	struct range_map *map;
	struct fault fault;

	CHECK_U64(result->index_end, result->size);
	CHECK_U64(result->index_offset % 4, 0);
	CHECK(chunk_index_get_skippable(got + result->index_offset, payload, &fault) == 0);
	map = range_map_new(xmemdup(got + result->index_offset + CHUNK_INDEX_SKIPPABLE, payload),
		payload, result->index_offset, r->n, &result->index_digest, NULL);
	CHECK(map);
	for (uint32_t i = 0; map && i < range_map_n_frames(map); i++) {
		struct frame f = range_map_frame(map, i);

		check_frame(r, &f, got);
	}
	range_map_free(map);
	/* and a decoder that knows nothing of the index finds the device */
	CHECK_U64(ZSTD_decompress(all, r->n + 1, got, result->size), r->n);
	CHECK(!memcmp(all, r->want, r->n));
}

static void check_blob(struct run *r)
{
	struct blob_result result;
	struct outfile *file = blob_writer_take(r->writer, &result);
	uint8_t *got = xmalloc(result.size + 1);
	struct digest content, stored;

	CHECK_U64((uint64_t)pread(outfile_fd(file), got, result.size + 1, 0), result.size);
	digest_of(&content, DIGEST_SHA256, r->want, r->n);
	digest_of(&stored, DIGEST_SHA256, got, result.size);
	CHECK_U64(result.blocks, r->n / BLOCK);
	CHECK(result.zstd == zstd);
	CHECK(digest_equal(&result.diff_id, &content));
	CHECK(digest_equal(&result.digest, &stored));
	(zstd ? check_zstd : check_raw)(r, &result, got);
	CHECK_U64(r->failures, 0);
	CHECK_U64(r->finished, 1);
	r->finished = 0;
	outfile_free(file);
	free(got);
	blob_writer_free(r->writer);
	r->writer = NULL;
}

static void a_blob_without_blocks_is_an_empty_erofs_image(void)
{
	struct run r;
	struct erofs_super sb;
	struct fault fault;

	run_start(&r, 2, 4);
	feed(&r, 1, 0);
	CHECK_U64(r.n, BLOCK);
	CHECK(erofs_super_decode(&sb, r.want, &fault) == 0);
	check_blob(&r);
	run_end(&r);
}

static void frames_arrive_in_order_from_many_threads(void)
{
	struct run r;

	run_start(&r, 6, 8);
	feed(&r, 300, 11);
	CHECK(r.n > FRAME * 100);
	check_blob(&r);
	run_end(&r);
}

static void one_thread_and_two_frames_are_enough(void)
{
	struct run r;

	run_start(&r, 1, 2); /* one may be open, and goes nowhere before it is full */
	feed(&r, 60, 9);
	check_blob(&r);
	run_end(&r);
}

static void whole_and_partial_last_frames_are_written(void)
{
	for (unsigned blocks = 1; blocks <= 9; blocks++) {
		struct run r;
		struct feed f = { { .run = run_feed }, &r, blocks, true };

		run_start(&r, 2, 3);
		strand_post(&r.feeder, &f.job);
		workers_wait(r.workers);
		CHECK_U64(r.n, (blocks + 1) * BLOCK);
		check_blob(&r);
		run_end(&r);
	}
}

static void blobs_one_after_the_other_share_the_flow(void)
{
	struct run r;

	run_start(&r, 3, 4);
	for (unsigned i = 0; i < 5; i++) {
		feed(&r, 20, 10);
		check_blob(&r);
	}
	run_end(&r);
}

static void no_job_begins_while_too_many_frames_are_under_way(void)
{
	struct run r;

	run_start(&r, 4, 3);
	feed(&r, 400, 40);
	CHECK_U64(r.over, 0);
	check_blob(&r);
	run_end(&r);
}

static void a_file_that_cannot_grow_is_reported_once(void)
{
	struct rlimit old, small;
	struct run r;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 5 * BLOCK;
	setrlimit(RLIMIT_FSIZE, &small);
	run_start(&r, 4, 3);
	feed(&r, 100, 10);
	setrlimit(RLIMIT_FSIZE, &old);
	CHECK_U64(r.failures, 1);
	CHECK(r.failure && *r.failure->msg && r.failure->code == EFBIG);
	blob_writer_free(r.writer);
	run_end(&r);
}

static void a_dropped_blob_leaves_nothing(void)
{
	struct run r;
	struct feed f = { { .run = run_feed }, &r, 6, false }; /* in the middle of a frame */

	run_start(&r, 2, 3);
	strand_post(&r.feeder, &f.job);
	workers_wait(r.workers);
	blob_writer_free(r.writer);
	blob_writer_free(NULL);
	CHECK_U64(count_entries(r.dir), 0);
	run_end(&r);
	blob_flow_free(NULL);
}

static void run_all(void)
{
	RUN(a_blob_without_blocks_is_an_empty_erofs_image);
	RUN(frames_arrive_in_order_from_many_threads);
	RUN(one_thread_and_two_frames_are_enough);
	RUN(whole_and_partial_last_frames_are_written);
	RUN(blobs_one_after_the_other_share_the_flow);
	RUN(no_job_begins_while_too_many_frames_are_under_way);
	RUN(a_file_that_cannot_grow_is_reported_once);
	RUN(a_dropped_blob_leaves_nothing);
}

int main(void)
{
	alarm(300); /* a feeder that is never resumed is a hang */
	run_all();
	zstd = true;
	run_all();
	return tap_done();
}
