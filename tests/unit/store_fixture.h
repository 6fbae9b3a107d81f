/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A store for a test, and blobs in it whose bytes follow from their digests. */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include "lib/store/map.h"

#include <errno.h>

#include "fmt/le.h"
#include "fmt/presence_map.h"
#include "lib/base/log.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

enum { FRAME = 8192, N_FRAMES = 13, SIZE = N_FRAMES * FRAME - 100 };

/* A store in a directory of its own. */
struct fixture {
	char *dir; /* removed at the end */
	char *at; /* the store's */
	struct store *s;
};

static inline struct store *open_store(const char *at, uint64_t limit)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct store *s = store_open(at, limit, &err);

	if (!CHECK(s != NULL)) {
		printf("# %s\n", err->msg);
		exit(99);
	}
	return s;
}

static inline struct fixture begin(uint64_t limit)
{
	struct fixture f = { .dir = tmpdir_make() };

	f.at = xasprintf("%s/deep/store", f.dir);
	f.s = open_store(f.at, limit);
	return f;
}

static inline void end(struct fixture *f)
{
	store_close(f->s);
	tmpdir_remove(f->dir);
	free(f->dir);
	free(f->at);
}
#define FIXTURE CLEANUP(end) struct fixture

/* Blob number i: all of them differ. */
static inline struct store_spec spec_of(int i)
{
	struct store_spec spec = { .size = SIZE, .n_frames = N_FRAMES };

	digest_of(&spec.digest, i % 2 ? DIGEST_SHA512 : DIGEST_SHA256, &i, sizeof(i));
	digest_of(&spec.index, DIGEST_SHA256, "index", 5);
	return spec;
}

/* One to reserve much for. */
static inline struct store_spec large_spec(int i)
{
	struct store_spec spec = spec_of(i);

	spec.n_frames = 1000;
	spec.size = 1000 * FRAME;
	return spec;
}

static inline struct store_blob *try_open(struct store *s, const struct store_spec *spec)
{
	CLEANUP_ERROR struct error *err = NULL;

	return store_blob_open(s, spec, &err);
}

static inline struct store_blob *open_blob(struct store *s, const struct store_spec *spec)
{
	struct store_blob *b = try_open(s, spec);

	if (!CHECK(b != NULL))
		exit(99);
	return b;
}

static inline size_t frame_len(const struct store_spec *spec, uint32_t frame)
{
	uint64_t at = (uint64_t)frame * FRAME;

	return spec->size - at < FRAME ? (size_t)(spec->size - at) : FRAME;
}

static inline void frame_bytes(
	const struct store_spec *spec, uint32_t frame, uint8_t out[static FRAME])
{
	uint64_t state = get_le64(spec->digest.bytes) + frame;

	for (size_t i = 0; i < FRAME; i += 8)
		put_le64(out + i, random_u64(&state));
}

static inline void put(struct store_blob *b, const struct store_spec *spec, uint32_t frame)
{
	CLEANUP_ERROR struct error *err = NULL;
	uint8_t bytes[FRAME];

	frame_bytes(spec, frame, bytes);
	CHECK(store_blob_write(
		      b, frame, (uint64_t)frame * FRAME, bytes, frame_len(spec, frame), &err) == 0);
	CHECK(store_blob_has(b, frame));
}

static inline bool is_right(
	const struct store_blob *b, const struct store_spec *spec, uint32_t frame)
{
	size_t len = frame_len(spec, frame);
	uint8_t want[FRAME], got[FRAME];

	frame_bytes(spec, frame, want);
	return pread(store_blob_fd(b), got, len, (off_t)frame * FRAME) == (ssize_t)len &&
	       memcmp(want, got, len) == 0;
}

static inline void fill(struct store *s, const struct store_spec *spec)
{
	CLEANUP_STORE_BLOB struct store_blob *b = open_blob(s, spec);

	for (uint32_t i = 0; i < spec->n_frames; i++)
		put(b, spec, i);
}

static inline void sync_blob(struct store_blob *b)
{
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(store_blob_sync(b, &err) == 0);
}

typedef int reserver(struct store_blob *, uint64_t, struct error **);

static inline int reserve_by(reserver *how, struct store_blob *b, uint64_t bytes)
{
	CLEANUP_ERROR struct error *err = NULL;
	int rc = how(b, bytes, &err);

	if (rc < 0) {
		CHECK_U64((uint64_t)err->code, ENOSPC);
		CHECK(err->hint != NULL);
	}
	return rc < 0 ? -err->code : 0;
}

static inline int reserve(struct store_blob *b, uint64_t bytes)
{
	return reserve_by(store_blob_reserve, b, bytes);
}

static inline int reserve_spare(struct store_blob *b, uint64_t bytes)
{
	return reserve_by(store_blob_reserve_spare, b, bytes);
}

/* The path of a blob's file; the caller frees it. */
static inline char *path_of(
	const struct fixture *f, const struct store_spec *spec, const char *suffix)
{
	const struct presence_map map = map_of_spec(spec);
	char stem[STORE_STEM_MAX];

	return xasprintf("%s/blobs/%s.%s", f->at, store_stem(&spec->digest, &map, stem), suffix);
}

static inline size_t set_aside(const struct fixture *f)
{
	CLEANUP_FREE char *aside = xasprintf("%s/aside", f->at);

	return count_entries(aside);
}

static inline uint64_t prune(struct store *s, uint64_t keep, size_t *n)
{
	CLEANUP_ERROR struct error *err = NULL;
	uint64_t freed = 0;

	*n = 0;
	CHECK(store_prune(s, keep, &freed, n, &err) == 0);
	return freed;
}

/* How the store lists this blob; n_frames 0: not at all. */
static inline struct store_entry listed(
	struct store *s, const struct store_spec *spec, size_t *place)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE struct store_entry *list = NULL;
	size_t n = 0;

	CHECK(store_list(s, &list, &n, &err) == 0);
	for (size_t i = 0; i < n; i++)
		if (digest_equal(&list[i].digest, &spec->digest)) {
			if (place)
				*place = i;
			return list[i];
		}
	return (struct store_entry){ 0 };
}

static inline bool is_held(struct store *s, const struct store_spec *spec)
{
	return listed(s, spec, NULL).n_frames > 0;
}

static inline void patch(const char *path, uint64_t offset, const void *bytes, size_t len)
{
	CLEANUP_FD int fd = open(path, O_RDWR);

	if (!CHECK(pwrite(fd, bytes, len, (off_t)offset) == (ssize_t)len))
		exit(99);
}

#endif
