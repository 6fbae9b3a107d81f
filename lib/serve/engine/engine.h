/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The engine behind every transport: somebody wants bytes of a device; the frames that hold them
 * are fetched once however many want them, verified, decompressed, written to the store, and
 * everyone is told. Transports only translate.
 */
#ifndef SERVE_ENGINE_H
#define SERVE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "lib/blob/range_map.h"
#include "lib/serve/engine/source.h"
#include "lib/store/store.h"

struct engine;
struct served_blob;

struct engine_options {
	unsigned fetchers; /* threads that fetch and decompress; each holds slice_bytes and a frame
			    */
	size_t slice_bytes; /* as stored: what one request asks for at most (a frame that is larger
			       goes alone); longer runs go in parallel */
	unsigned deadline; /* seconds from want to answer; then EIO, or ENOSPC in a full store */
};
#define ENGINE_OPTIONS_DEFAULT \
	((struct engine_options){ .fetchers = 8, .slice_bytes = 4 * 1024 * 1024, .deadline = 60 })

struct engine *engine_start(const struct engine_options *o, struct error **err);
/* Answers what still waits with EIO, ends the threads, removes the blobs that are left. */
void engine_stop(struct engine *e); /* NULL is allowed */

/*
 * What a blob is made of. With `open_index` the map is loaded by the first who wants something, on
 * a fetcher: it returns the map or NULL with the error.
 */
struct served_blob_parts {
	struct store_blob *cache; /* taken over */
	struct range_map *map; /* taken over; NULL: open_index() gives it */
	struct range_map *(*open_index)(void *arg, struct error **err);
	void *arg;
	struct blob_source *source; /* the caller's; outlives the blob */
	struct digest digest; /* of the blob as stored: its name at the source */
	const char *name; /* for messages; copied */
};
struct served_blob *engine_add(struct engine *e, const struct served_blob_parts *parts);
/* Waiters get EIO, a fetch under way ends first; the cache is synced and closed. */
void engine_remove(struct served_blob *b); /* NULL is allowed */

/* Who wants: embedded in the transport's request; lives until done() is called. */
struct want {
	/* 0, or the errno for the reader (EIO, ENOSPC). On any thread, also within engine_want().
	 * Must not block. */
	void (*done)(struct want *w, int error);
	/* inside: */
	struct served_blob *blob;
	uint64_t offset, len; /* bytes */
	uint32_t first, end; /* frames */
	uint32_t at; /* the first of them that is not there: the one it waits for */
	uint32_t queued; /* those before it have been asked for */
	uint64_t since; /* microseconds */
	struct want_list *list; /* of those that wait for the same */
	TAILQ_ENTRY(want) of_list, of_engine;
	int error;
};

/*
 * [offset, offset + len) of the device is needed; a range that reaches beyond its end is cut there.
 * done() once all of it is in the cache file, or the first error. A frame that is there costs no
 * lock. A sequential reader makes the engine read ahead.
 */
void engine_want(struct served_blob *b, uint64_t offset, uint64_t len, struct want *w);

/* The same, and wait for it. 0 or the errno. */
int engine_need(struct served_blob *b, uint64_t offset, uint64_t len);

/* Fetch all of the blob when nobody else wants anything. */
void engine_prefetch(struct served_blob *b);

/* The cache file that holds the device's bytes, for those that have been wanted. */
int served_blob_fd(const struct served_blob *b);
bool served_blob_is_complete(const struct served_blob *b);

/* Counters since the start. */
struct engine_stats {
	uint64_t wants, hits; /* hits: answered without waiting */
	uint64_t frames_fetched, bytes_fetched; /* as stored */
	uint64_t frames_waited; /* wanted while somebody else's fetch of it was under way */
	uint64_t requests; /* to sources */
	uint64_t errors, bad_frames, deadlines;
	uint64_t waited_us; /* sum over wants that waited */
};
void engine_stats(const struct engine *e, struct engine_stats *s);
void served_blob_stats(const struct served_blob *b, struct engine_stats *s);

#endif
