// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What a way of cutting devices into zstd frames costs and saves, for docs/frames.md.
 *
 *	frames [-l LEVEL] [-p NAME=VALUE]... [-w PATHS] VERSION [-- OLD-VERSION] RULE...
 *
 * A version of an image is BOOTSTRAP SLOT:DEVICE...; devices are raw data blobs, the bootstrap
 * tells where files begin. PATHS is a file of the paths that a start of the image reads. -p sets
 * zstd's parameters. A RULE:
 *
 *	MAX               frames of MAX bytes
 *	MIN-MAX,block=B   from MIN bytes on, before one block of B bytes in mean (its hash says so)
 *	MIN-MAX,file=N    from MIN bytes on, before one file of N (its first block's hash says so);
 *			  may stand behind block=B
 *	MIN-MAX,lowest=W  with MAX bytes, back to the block from MIN on that has the lowest hash;
 *			  that of a file's first block counts as divided by W
 *
 * A line of JSON for each rule. Speeds are one thread's, by processor time.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "fmt/chunk_index.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "tests/bench/frames_cut.h"

enum { PARAMETERS_MAX = 16, SHA256 = 32 };

struct parameter {
	ZSTD_cParameter id;
	int value;
};

struct codec {
	ZSTD_CCtx *c;
	ZSTD_DCtx *d;
	uint8_t *stored, *plain;
	size_t cap;
};

/* Sums over all frames of an image. */
struct figures {
	uint64_t frames, bytes, stored, largest;
	double fetched, inflated; /* bytes for one random block, times bytes */
	double compress, decompress; /* seconds */
	uint64_t shared, shared_stored; /* in frames that the older version has as well */
	uint64_t files, touched; /* files, and the frames that each lies in */
	uint64_t want_frames, want_stored, want_bytes; /* frames that hold wanted files */
};

static struct parameter parameters[PARAMETERS_MAX];
static size_t n_parameters;
static int level = 3;

static double processor_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- what both versions have -------------------------------------------------------------- */

static int compare_sums(const void *a, const void *b)
{
	return memcmp(a, b, SHA256);
}

struct sums {
	uint8_t (*of)[SHA256];
	size_t n, cap;
};

static void frame_sum(uint8_t out[static SHA256], const uint8_t *p, size_t len)
{
	struct digest digest;

	digest_of(&digest, DIGEST_SHA256, p, len);
	memcpy(out, digest.bytes, SHA256);
}

static void note_sums(struct sums *s, const struct image *old, const struct rule *r)
{
	struct frames f = { 0 };

	for (unsigned slot = 1; slot <= SLOTS_MAX; slot++) {
		const struct device *d = &old->slots[slot];

		if (!d->data)
			continue;
		cut_device(&f, d, r);
		for (size_t i = 1; i < f.n; i++) {
			s->of = xgrow(s->of, s->n, &s->cap, sizeof(*s->of));
			frame_sum(s->of[s->n++], d->data + f.ends[i - 1] * BLOCK,
				(f.ends[i] - f.ends[i - 1]) * BLOCK);
		}
	}
	free(f.ends);
	if (s->n)
		qsort(s->of, s->n, SHA256, compare_sums);
}

static bool has_sum(const struct sums *s, const uint8_t *p, size_t len)
{
	uint8_t sum[SHA256];

	if (!s->n)
		return false;
	frame_sum(sum, p, len);
	return bsearch(sum, s->of, s->n, SHA256, compare_sums) != NULL;
}

/* --- measuring ---------------------------------------------------------------------------- */

static struct codec new_codec(size_t frame_max)
{
	struct codec k = {
		.c = ZSTD_createCCtx(),
		.d = ZSTD_createDCtx(),
		.cap = ZSTD_compressBound(frame_max),
	};

	ZSTD_CCtx_setParameter(k.c, ZSTD_c_compressionLevel, level);
	for (size_t i = 0; i < n_parameters; i++)
		if (ZSTD_isError(
			    ZSTD_CCtx_setParameter(k.c, parameters[i].id, parameters[i].value)))
			die("-p", "zstd refuses the value");
	k.stored = xmalloc(k.cap);
	k.plain = xmalloc(frame_max);
	return k;
}

static void free_codec(struct codec *k)
{
	ZSTD_freeCCtx(k->c);
	ZSTD_freeDCtx(k->d);
	free(k->stored);
	free(k->plain);
}

static void measure_frame(struct figures *g, struct codec *k, const uint8_t *p, size_t len)
{
	double start = processor_time(), between;
	size_t stored = ZSTD_compress2(k->c, k->stored, k->cap, p, len), plain;

	between = processor_time();
	plain = ZSTD_decompressDCtx(k->d, k->plain, len, k->stored, stored);
	g->decompress += processor_time() - between;
	g->compress += between - start;
	if (ZSTD_isError(stored) || plain != len || memcmp(k->plain, p, len))
		die("zstd", "a frame does not come back");
	g->frames++;
	g->bytes += len;
	g->stored += stored;
	g->largest = len > g->largest ? len : g->largest;
	g->fetched += (double)stored * (double)len;
	g->inflated += (double)len * (double)len;
}

/* A file is taken to reach to the next one's start. */
static void count_files(struct figures *g, const struct device *d, const struct frames *f)
{
	uint64_t i = 1;

	for (size_t k = 1; k < f->n; k++) {
		g->touched += !d->starts[i]; /* the rest of a file */
		for (; i < f->ends[k]; i++) {
			g->files += d->starts[i];
			g->touched += d->starts[i];
		}
	}
}

/* Does the frame hold a part of a wanted file? */
static bool is_wanted(const struct device *d, uint64_t first, uint64_t end)
{
	return memchr(d->wanted + first, 1, end - first) != NULL;
}

static void measure_device(struct figures *g, struct codec *k, const struct device *d,
	const struct frames *f, const struct sums *old)
{
	uint64_t first = 0;

	for (size_t i = 0; i < f->n; i++) {
		const uint8_t *p = d->data + first * BLOCK;
		size_t len = (f->ends[i] - first) * BLOCK;
		uint64_t before = g->stored;

		measure_frame(g, k, p, len);
		if (has_sum(old, p, len)) {
			g->shared += len;
			g->shared_stored += g->stored - before;
		}
		if (is_wanted(d, first, f->ends[i])) {
			g->want_frames++;
			g->want_stored += g->stored - before;
			g->want_bytes += len;
		}
		first = f->ends[i];
	}
	count_files(g, d, f);
}

/* Bytes; "fetched" and "inflated" for a random block, "start..." for the wanted files. */
static void print_figures(const struct rule *r, const struct figures *g, unsigned devices)
{
	uint64_t index = g->frames * CHUNK_INDEX_ENTRY +
			 devices * (uint64_t)(CHUNK_INDEX_HEADER + CHUNK_INDEX_SKIPPABLE);
	double bytes = (double)g->bytes, files = (double)(g->files ? g->files : 1);

	printf("{\"rule\":\"%s\",\"frames\":%" PRIu64 ",\"mean\":%.0f,\"largest\":%" PRIu64,
		r->name, g->frames, bytes / (double)g->frames, g->largest);
	printf(",\"bytes\":%" PRIu64 ",\"stored\":%" PRIu64 ",\"index\":%" PRIu64, g->bytes,
		g->stored, index);
	printf(",\"compress\":%.0f,\"decompress\":%.0f", bytes / g->compress,
		bytes / g->decompress);
	printf(",\"fetched\":%.0f,\"inflated\":%.0f,\"framesPerFile\":%.4f", g->fetched / bytes,
		g->inflated / bytes, (double)g->touched / files);
	printf(",\"startFrames\":%" PRIu64 ",\"startStored\":%" PRIu64 ",\"startBytes\":%" PRIu64,
		g->want_frames, g->want_stored, g->want_bytes);
	printf(",\"shared\":%" PRIu64 ",\"sharedStored\":%" PRIu64 "}\n", g->shared,
		g->shared_stored);
	fflush(stdout);
}

static void measure(const struct image *image, const struct image *old, const struct rule *r)
{
	struct codec k = new_codec(r->max * BLOCK);
	struct figures g = { 0 };
	struct frames f = { 0 };
	struct sums s = { 0 };
	unsigned devices = 0;

	note_sums(&s, old, r);
	for (unsigned slot = 1; slot <= SLOTS_MAX; slot++) {
		const struct device *d = &image->slots[slot];

		if (!d->data)
			continue;
		cut_device(&f, d, r);
		measure_device(&g, &k, d, &f, &s);
		devices++;
	}
	print_figures(r, &g, devices);
	free(f.ends);
	free(s.of);
	free_codec(&k);
}

/* --- arguments ---------------------------------------------------------------------------- */

static void add_parameter(const char *s)
{
	static const struct {
		const char *name;
		ZSTD_cParameter id;
	} names[] = {
		{ "windowLog", ZSTD_c_windowLog },
		{ "hashLog", ZSTD_c_hashLog },
		{ "chainLog", ZSTD_c_chainLog },
		{ "searchLog", ZSTD_c_searchLog },
		{ "minMatch", ZSTD_c_minMatch },
		{ "targetLength", ZSTD_c_targetLength },
		{ "strategy", ZSTD_c_strategy },
		{ "ldm", ZSTD_c_enableLongDistanceMatching },
	};
	const char *value = strchr(s, '=');

	for (size_t i = 0; value && i < sizeof(names) / sizeof(*names); i++)
		if (strlen(names[i].name) == (size_t)(value - s) &&
			!strncmp(names[i].name, s, (size_t)(value - s)) &&
			n_parameters < PARAMETERS_MAX) {
			parameters[n_parameters++] =
				(struct parameter){ names[i].id, atoi(value + 1) };
			return;
		}
	die(s, "no parameter NAME=VALUE of zstd");
}

int main(int argc, char **argv)
{
	static struct image image, old;
	int i, option;

	while ((option = getopt(argc, argv, "+l:p:w:")) != -1) {
		if (option == 'l')
			level = atoi(optarg);
		else if (option == 'p')
			add_parameter(optarg);
		else if (option == 'w')
			read_wanted(optarg);
		else
			return 2;
	}
	i = open_image(&image, argv, optind);
	if (argv[i] && !strcmp(argv[i], "--"))
		i = open_image(&old, argv, i + 1);
	for (; argv[i]; i++) {
		struct rule rule;

		parse_rule(&rule, argv[i]);
		measure(&image, &old, &rule);
	}
	return 0;
}
