/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The engine behind every transport: somebody wants bytes of a device; the frames that hold them
 * are fetched once however many want them, verified, decompressed, written to the store, and
 * everyone is told. Transports only translate.
 */
#ifndef SERVE_ENGINE_H
#define SERVE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "lib/blob/range_map.h"
#include "lib/serve/engine/source.h"
#include "lib/store/store.h"

struct engine;
struct served_blob;

struct engine_options {
	unsigned fetchers; /* threads that fetch and decompress; each holds slice_bytes and a frame;
			      of eight and more, two are not for the same place as all others */
	size_t slice_bytes; /* as stored: what one request asks for at most (a frame that is larger
			       goes alone); longer runs go in parallel */
	size_t stream_bytes; /* the same for what nobody waits for yet, where the source has
				streams: many registries work much for each request */
	unsigned deadline; /* seconds from want to answer; then EIO, or ENOSPC in a full store */
};
#define ENGINE_OPTIONS_DEFAULT                    \
	((struct engine_options){ .fetchers = 10, \
		.slice_bytes = 4 * 1024 * 1024,   \
		.stream_bytes = 16 * 1024 * 1024, \
		.deadline = 60 })

struct engine *engine_start(const struct engine_options *o, struct error **err);
/* Answers what still waits with EIO, and fetches nothing more: blobs can only be removed. NULL is
 * allowed. */
void engine_end(struct engine *e);
/*
 * Answers what still waits with EIO, ends the threads, removes the blobs that are left, as
 * engine_remove() does.
 */
void engine_stop(struct engine *e); /* NULL is allowed */

/*
 * What a blob is made of. With `open_index` the map is loaded by the first who wants something, on
 * a fetcher, or by engine_prove(): it returns the map or NULL with the error. The index comes from
 * the source that it is given. It may be loaded more than once: the map of a blob that is complete
 * is given back.
 */
struct served_blob_parts {
	struct store_blob *cache; /* taken over */
	struct range_map *map; /* taken over; NULL: open_index() gives it */
	struct range_map *(*open_index)(void *arg, struct blob_source *source, struct error **err);
	/*
	 * All of it is in the cache, and synced: called once, on a thread of the engine, without a
	 * lock of the engine's; not when it was so at engine_add(), and not any more once
	 * engine_remove() has returned, which it must not call. May be NULL.
	 */
	void (*completed)(void *arg);
	/*
	 * What is there of [offset, offset + len) of the device, as served_blob_has() tells, has
	 * changed or may have: frames have been written, or (then it is everything) the index is
	 * known now, or a sync has failed. Without a lock of the engine's, before those who wait
	 * are answered; must not block. May be NULL, as completed().
	 */
	void (*changed)(void *arg, uint64_t offset, uint64_t len);
	/*
	 * A sync has failed: what was written since the last one will be absent as soon as this
	 * returns; changed() follows. With locks of the store's; must not block. May be NULL.
	 */
	void (*lost)(void *arg);
	void *arg; /* of all of them */
	struct blob_source *source; /* the caller's; outlives the blob; may be shared by many */
	struct digest digest; /* of the blob as stored: its name at the source */
	const char *name; /* for messages; copied */
};
struct served_blob *engine_add(struct engine *e, const struct served_blob_parts *parts);
/*
 * Waiters get EIO at once; what is under way is cancelled (struct blob_source), so that a slow
 * source keeps nobody for more than about a second; the cache is synced and closed. No call on
 * the blob may begin after this one.
 */
void engine_remove(struct served_blob *b); /* NULL is allowed */

/* Who wants: embedded in the transport's request; lives until done() is called. */
struct want {
	/* 0, or the errno for the reader (EIO, ENOSPC). On any thread, also within engine_want().
	 * Must not block. */
	void (*done)(struct want *w, int error);
	bool aside; /* it says nothing of where somebody reads */
	/* inside: */
	struct served_blob *blob;
	uint64_t offset, len; /* bytes */
	uint32_t first, end; /* frames */
	uint32_t at; /* the first of them that is not there: the one it waits for */
	uint32_t queued; /* those before it have been asked for, ... */
	uint32_t seen; /* ... and up to here at some time */
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

/* Would it be there at once? Without a lock. What lies behind the end of the device is there. */
bool served_blob_has(struct served_blob *b, uint64_t offset, uint64_t len);

/*
 * For who lets reads of what is there go on by itself: it has done so with [offset, offset + len),
 * which is told so that a sequential reader is seen. And at *hits it counts such reads: from now on
 * they are the blob's, until this is called with NULL.
 */
void engine_note(struct served_blob *b, uint64_t offset, uint64_t len);
void engine_count_also(struct served_blob *b, const _Atomic uint64_t *hits);

/* Fetch all of the blob when nobody else wants anything. */
void engine_prefetch(struct served_blob *b);

/*
 * 0 when `source` gives a frame of the blob, chosen at random, with the right bytes: so whoever has
 * that source may read the blob, though others have had it cached. The index is loaded, also from
 * there, when it is not. Blocks, on the caller's thread; nothing is kept but the index.
 */
int engine_prove(struct served_blob *b, struct blob_source *source, struct error **err);

/* The cache file that holds the device's bytes, for those that have been wanted. */
int served_blob_fd(const struct served_blob *b);
bool served_blob_is_complete(const struct served_blob *b);
/* Nothing of it is known to be there. */
bool served_blob_is_empty(const struct served_blob *b);

/* Upper bounds, in seconds, of all buckets but the last, which has none. */
enum { ENGINE_WAIT_BUCKETS = 11 };
extern const double engine_wait_bounds[ENGINE_WAIT_BUCKETS - 1];

/* Of a blob, or of all: what was counted since the start, also in blobs that are gone, ... */
struct engine_stats {
	uint64_t wants, hits; /* hits: answered without waiting */
	uint64_t frames_fetched, bytes_fetched; /* as stored */
	uint64_t frames_waited; /* wanted while somebody else's fetch of it was under way */
	uint64_t requests; /* to sources */
	uint64_t errors; /* that were no better the second time; and deadlines */
	uint64_t recovered; /* that another try, or another source, has mended */
	uint64_t bad_frames; /* whose bytes were wrong */
	uint64_t deadlines; /* wants whose time was over, with EIO or ENOSPC */
	uint64_t no_space; /* wants that got ENOSPC */
	uint64_t failed; /* wants that got an error, but for those of blobs that were removed */
	uint64_t waited_us; /* sum over wants that waited */
	uint64_t waited[ENGINE_WAIT_BUCKETS]; /* how many of them for how long; not cumulative */

	/* ... and what is there now. */
	uint64_t blobs, blobs_complete; /* complete: as served_blob_is_complete() */
	uint64_t bytes_cached, bytes_missing; /* uncompressed; estimated before the index is read */
	uint64_t frames_total, frames_present;
};
void engine_stats(const struct engine *e, struct engine_stats *s);
void served_blob_stats(const struct served_blob *b, struct engine_stats *s);

#endif
