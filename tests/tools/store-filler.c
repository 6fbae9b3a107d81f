// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Uses a store as tests want it used: see usage(). Its blobs are numbered; each frame's bytes
 * follow from the numbers of blob and frame, so everyone can tell what is right.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmt/le.h"
#include "fmt/presence_map.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/store/store.h"
#include "tests/tools/crash.h"
#include "tests/unit/random.h"

enum { N_BLOBS = 12, FRAME = 5000, THREADS = 3 }; /* frames do not keep to blocks */

static int usage(void)
{
	fprintf(stderr,
		"store-filler crash STORE LIMIT SEED JOURNAL [broken]  fill blobs until killed\n"
		"store-filler undo STORE SEED JOURNAL    lose what was not synced, then verify\n"
		"store-filler verify STORE               every frame that is there is right\n"
		"store-filler work STORE LIMIT SEED ROUNDS  open, fill, read blobs; some give up\n"
		"store-filler put STORE LIMIT FILE       store a file; print where\n"
		"store-filler hold STORE NUMBER          open a blob until stdin ends\n");
	return 2;
}

static void die(struct error *err, const char *what)
{
	fprintf(stderr, "store-filler: %s: %s\n", what, err ? err->msg : strerror(errno));
	exit(1);
}

static struct store_spec spec_of(uint32_t number)
{
	struct store_spec spec = { .n_frames = 20 + number * 7 };

	digest_of(&spec.digest, DIGEST_SHA256, &number, sizeof(number));
	digest_of(&spec.index, DIGEST_SHA256, "index", 5);
	spec.size = (uint64_t)spec.n_frames * FRAME - number;
	return spec;
}

static size_t frame_len(const struct store_spec *spec, uint32_t frame)
{
	uint64_t at = (uint64_t)frame * FRAME;

	return spec->size - at < FRAME ? (size_t)(spec->size - at) : FRAME;
}

/* No byte of it is zero: where a hole is, nothing is right. */
static void frame_bytes(const struct store_spec *spec, uint32_t frame, uint8_t out[static FRAME])
{
	uint64_t state = get_le64(spec->digest.bytes) ^ frame;

	for (size_t i = 0; i < FRAME; i += 8)
		put_le64(out + i, random_u64(&state) | 0x0101010101010101u);
}

static bool is_right(int fd, const struct store_spec *spec, uint32_t frame)
{
	size_t len = frame_len(spec, frame);
	uint8_t want[FRAME], got[FRAME];

	frame_bytes(spec, frame, want);
	return pread(fd, got, len, (off_t)frame * FRAME) == (ssize_t)len &&
	       memcmp(want, got, len) == 0;
}

static struct store *open_store(const char *dir, uint64_t limit)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct store *s = store_open(dir, limit, &err);

	if (!s)
		die(err, dir);
	return s;
}

static struct store_blob *open_blob(struct store *s, const struct store_spec *spec)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct store_blob *b = store_blob_open(s, spec, &err);

	if (!b)
		die(err, "open");
	return b;
}

static void check_blob(const struct store_blob *b, const struct store_spec *spec, const char *when)
{
	for (uint32_t i = 0; i < spec->n_frames; i++)
		if (store_blob_has(b, i) && !is_right(store_blob_fd(b), spec, i)) {
			fprintf(stderr, "store-filler: %s: frame %u of %s is wrong\n", when, i,
				store_blob_path(b));
			exit(3);
		}
}

static void put_frame(struct store_blob *b, const struct store_spec *spec, uint32_t frame)
{
	CLEANUP_ERROR struct error *err = NULL;
	uint8_t bytes[FRAME];

	frame_bytes(spec, frame, bytes);
	if (store_blob_write(
		    b, frame, (uint64_t)frame * FRAME, bytes, frame_len(spec, frame), &err) < 0)
		die(err, "write");
}

static uint64_t missing_bytes(const struct store_blob *b, const struct store_spec *spec)
{
	return (uint64_t)(spec->n_frames - store_blob_present(b)) * FRAME;
}

/* --- crash --- */

struct share {
	struct store_blob *b;
	const struct store_spec *spec;
	const uint32_t *order; /* of frames */
	uint32_t first;
	uint64_t rng;
};

/* Some of the frames that are not there, with a sync now and then. */
static void *fill_share(void *arg)
{
	struct share *s = arg;

	for (uint32_t i = s->first; i < s->spec->n_frames; i += THREADS) {
		CLEANUP_ERROR struct error *err = NULL;

		if (!store_blob_has(s->b, s->order[i]))
			put_frame(s->b, s->spec, s->order[i]);
		if (!random_below(&s->rng, 8))
			store_blob_sync(s->b, &err); /* some fail: then frames are missing */
		if (!random_below(&s->rng, 4))
			usleep(random_below(&s->rng, 500));
	}
	return NULL;
}

static void fill_in_parallel(struct store_blob *b, const struct store_spec *spec, uint64_t *rng)
{
	CLEANUP_FREE uint32_t *order = xcalloc(spec->n_frames, sizeof(*order));
	pthread_t threads[THREADS];
	struct share shares[THREADS];

	for (uint32_t i = 0; i < spec->n_frames; i++)
		order[i] = i;
	random_shuffle(rng, order, spec->n_frames);
	for (uint32_t i = 0; i < THREADS; i++) {
		shares[i] = (struct share){ b, spec, order, i, random_u64(rng) };
		if (pthread_create(&threads[i], NULL, fill_share, &shares[i]) != 0)
			die(NULL, "pthread_create");
	}
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static int crash(const char *dir, uint64_t limit, uint64_t seed, const char *journal, bool broken)
{
	struct store *s = open_store(dir, limit);

	crash_journal(journal, seed, 20, broken);
	while (!crash_journal_is_full()) {
		CLEANUP_ERROR struct error *err = NULL, *sync = NULL;
		struct store_spec spec = spec_of(random_below(&seed, N_BLOBS));
		struct store_blob *b = store_blob_open(s, &spec, &sync);

		if (!b)
			continue; /* a sync of the new cache has failed */
		check_blob(b, &spec, "opened");
		if (store_blob_reserve(b, missing_bytes(b, &spec), &err) < 0)
			die(err, "reserve");
		if (!store_blob_is_complete(b))
			fill_in_parallel(b, &spec, &seed);
		check_blob(b, &spec, "filled");
		store_blob_close(b);
	}
	pause();
	return 0;
}

/* --- undo, verify --- */

/* Without the library: as docs/format/store.md says it. */
static char *stem_of(const char *dir, const struct store_spec *spec)
{
	struct presence_map m = { .digest.algo = PRESENCE_SHA256,
		.index.algo = PRESENCE_SHA256,
		.size = spec->size,
		.n_frames = spec->n_frames };
	char blob[DIGEST_MAX_STR], all[DIGEST_MAX_STR];
	uint8_t header[PRESENCE_MAP_HEADER];
	struct digest of_header;

	memcpy(m.digest.bytes, spec->digest.bytes, 32);
	memcpy(m.index.bytes, spec->index.bytes, 32);
	presence_map_put(header, &m);
	digest_of(&of_header, DIGEST_SHA256, header, sizeof(header));
	return xasprintf("%s/blobs/sha256-%s.%.32s", dir, digest_hex(&spec->digest, blob),
		digest_hex(&of_header, all));
}

static uint32_t verify_blob(const char *dir, const struct store_spec *spec, bool *complete)
{
	CLEANUP_FREE char *stem = stem_of(dir, spec);
	CLEANUP_FREE char *map_path = xasprintf("%s.map", stem);
	CLEANUP_FREE char *cache_path = xasprintf("%s.cache", stem);
	CLEANUP_FD int map = open(map_path, O_RDONLY), cache = open(cache_path, O_RDONLY);
	uint32_t present = 0, n = 0;
	uint8_t header[PRESENCE_MAP_HEADER], bits[256];
	struct presence_map m;
	struct fault fault = { 0 };
	struct stat st;

	*complete = false;
	if (map < 0)
		return 0;
	if (fstat(map, &st) < 0 || pread(map, header, sizeof(header), 0) != sizeof(header) ||
		presence_map_get(&m, header, (uint64_t)st.st_size, &fault) < 0 ||
		m.n_frames != spec->n_frames || pread(map, bits, 256, PRESENCE_MAP_BITS) < 1 ||
		presence_map_count(bits, m.n_frames, &present, &fault) < 0) {
		printf("DAMAGED %s: %s\n", map_path, fault.what ? fault.what : "it is short");
		exit(3);
	}
	for (uint32_t i = 0; i < m.n_frames; i++) {
		if (!(bits[i / 8] >> i % 8 & 1))
			continue;
		if (!is_right(cache, spec, i)) {
			printf("WRONG frame %u of %s\n", i, cache_path);
			exit(3);
		}
		n++;
	}
	*complete = n == m.n_frames;
	return n;
}

static int verify(const char *dir)
{
	uint32_t frames = 0, complete = 0;

	for (uint32_t i = 0; i < N_BLOBS; i++) {
		struct store_spec spec = spec_of(i);
		bool all;

		frames += verify_blob(dir, &spec, &all);
		complete += all;
	}
	printf("frames %u complete %u\n", frames, complete);
	return 0;
}

static int undo(const char *dir, uint64_t seed, const char *journal)
{
	CLEANUP_FREE char *blobs = xasprintf("%s/blobs", dir);

	printf("undone %" PRIu64 " ", crash_undo(journal, blobs, seed));
	return verify(dir);
}

/* --- work --- */

/* The frames that are missing, or some of them. False: no room. */
static bool work_fill(struct store_blob *b, const struct store_spec *spec, uint64_t *rng)
{
	CLEANUP_ERROR struct error *err = NULL, *sync = NULL;
	uint32_t stop = random_below(rng, 4) ? UINT32_MAX : random_below(rng, spec->n_frames);

	if (store_blob_reserve(b, missing_bytes(b, spec), &err) < 0) {
		if (err->code != ENOSPC)
			die(err, "reserve");
		return false;
	}
	for (uint32_t i = 0; i < spec->n_frames && i < stop; i++)
		if (!store_blob_has(b, i))
			put_frame(b, spec, i);
	if (random_below(rng, 2) && store_blob_sync(b, &sync) < 0)
		die(sync, "sync");
	return true;
}

static int work(const char *dir, uint64_t limit, uint64_t seed, uint64_t rounds)
{
	struct store *s = open_store(dir, limit);
	unsigned filled = 0, found = 0, no_room = 0;

	for (uint64_t i = 0; i < rounds; i++) {
		struct store_spec spec = spec_of(random_below(&seed, N_BLOBS));
		struct store_blob *b = open_blob(s, &spec);

		check_blob(b, &spec, "opened");
		if (store_blob_is_complete(b))
			found++;
		else if (work_fill(b, &spec, &seed))
			filled++;
		else
			no_room++;
		usleep(random_below(&seed, 3000));
		check_blob(b, &spec, "used");
		if (i + 1 == rounds && seed % 8 == 0)
			_exit(0); /* without closing it */
		store_blob_close(b);
	}
	store_close(s);
	printf("filled %u found %u no_room %u\n", filled, found, no_room);
	return 0;
}

/* --- put, hold --- */

static int put(const char *dir, uint64_t limit, const char *file)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_STORE struct store *s = open_store(dir, limit);
	CLEANUP_STORE_BLOB struct store_blob *b = NULL;
	CLEANUP_FD int fd = open(file, O_RDONLY | O_CLOEXEC);
	CLEANUP_FREE char *bytes = NULL;
	struct store_spec spec = { .n_frames = 1 };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(NULL, file);
	spec.size = (uint64_t)st.st_size;
	bytes = xmalloc(spec.size + 1);
	if (pread(fd, bytes, spec.size, 0) != st.st_size)
		die(NULL, file);
	digest_of(&spec.digest, DIGEST_SHA256, bytes, spec.size);
	spec.index = spec.digest;
	b = open_blob(s, &spec);
	if (!store_blob_is_complete(b) &&
		(store_blob_reserve(b, spec.size, &err) < 0 ||
			store_blob_write(b, 0, 0, bytes, spec.size, &err) < 0 ||
			store_blob_sync(b, &err) < 0))
		die(err, "put");
	printf("%s\n", store_blob_path(b));
	return 0;
}

static int hold(const char *dir, uint64_t number)
{
	CLEANUP_STORE struct store *s = open_store(dir, 0);
	struct store_spec spec = spec_of((uint32_t)number);
	CLEANUP_STORE_BLOB struct store_blob *b = open_blob(s, &spec);
	char c;

	for (uint32_t i = 0; i < spec.n_frames / 2; i++)
		put_frame(b, &spec, i);
	printf("%s\n", store_blob_path(b));
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	return 0;
}

static uint64_t number(const char *s)
{
	return strtoull(s, NULL, 10);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	log_set_level(LOG_QUIET);
	if (!strcmp(verb, "crash") && argc >= 6)
		return crash(argv[2], number(argv[3]), number(argv[4]), argv[5], argc > 6);
	if (!strcmp(verb, "undo") && argc == 5)
		return undo(argv[2], number(argv[3]), argv[4]);
	if (!strcmp(verb, "verify") && argc == 3)
		return verify(argv[2]);
	if (!strcmp(verb, "work") && argc == 6)
		return work(argv[2], number(argv[3]), number(argv[4]), number(argv[5]));
	if (!strcmp(verb, "put") && argc == 5)
		return put(argv[2], number(argv[3]), argv[4]);
	if (!strcmp(verb, "hold") && argc == 4)
		return hold(argv[2], number(argv[3]));
	return usage();
}
