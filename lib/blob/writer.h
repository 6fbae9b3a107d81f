/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Writing a blob: blocks are gathered into frames; frames are numbered, encoded on any thread in
 * any order, and joined again by number for the file and its digests. A compressed blob ends with
 * its chunk index (fmt/chunk_index.h).
 */
#ifndef BLOB_WRITER_H
#define BLOB_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/outfile.h"
#include "lib/base/workers.h"

enum {
	BLOB_FRAME_MIN = 4096,
	BLOB_FRAME_MAX = 4 * 1024 * 1024,
	BLOB_FRAME_DEFAULT = 512 * 1024, /* measured: docs/frames.md */
};

/* How blobs are stored. */
struct blob_format {
	bool zstd; /* else raw */
	int level; /* of zstd */
	size_t frame_size; /* the most of a frame, uncompressed; whole blocks */
};

/*
 * What all blob writers of a run share: how many frames may be under way, and who waits while
 * there are too many.
 */
struct blob_flow;
struct blob_writer;

struct blob_flow_ops {
	struct workers *workers;
	/* The strand whose jobs append blocks; paused while too many frames are under way. */
	struct strand *feeder;
	/* The first error, once, on some worker; takes it over. */
	void (*failed)(void *arg, struct error *e);
	/* A blob is complete, on some worker: blob_writer_close() may be called. NULL: nobody asks.
	 */
	void (*finished)(void *arg, struct blob_writer *w, unsigned number);
	void *arg;
};

/* max_frames: 2 or more, the one that is being filled included. */
struct blob_flow *blob_flow_new(
	const struct blob_flow_ops *ops, const struct blob_format *format, unsigned max_frames);
/* Is the feeder paused? Then the job that appends is to end soon, and to go on in another. */
bool blob_flow_is_full(struct blob_flow *flow);
void blob_flow_free(struct blob_flow *flow); /* after workers_wait(), and after the writers */

/*
 * Start a blob in `file`, which the writer takes over. A data blob's first frame is the one
 * constant block that makes it an empty EROFS image; block numbers of data begin at 1. `number` is
 * for finished().
 */
struct blob_writer *blob_writer_new(
	struct blob_flow *flow, struct outfile *file, bool data_blob, unsigned number);

/*
 * Append one block: len bytes, 1 to 4096, the rest zeros. On the feeder only. Never blocks. A
 * blob has one block or more.
 */
void blob_writer_append(struct blob_writer *w, const void *data, size_t len);

/* No more blocks: the last frame goes its way. On the feeder only. */
void blob_writer_finish(struct blob_writer *w);

/* What was written. */
struct blob_result {
	struct digest digest; /* of the file */
	struct digest diff_id; /* of the device: the uncompressed bytes; raw: the same */
	uint64_t size; /* of the file, bytes */
	uint32_t blocks; /* of the device */
	bool zstd; /* the rest is set */
	uint64_t index_offset, index_end; /* of the frame that holds the chunk index, in the file */
	struct digest index_digest; /* of the index: its header and entries */
};

/*
 * Hand over the file with its figures: once it is finished (also within that call), or once the
 * workers are idle.
 */
struct outfile *blob_writer_take(struct blob_writer *w, struct blob_result *result);

/* After workers_wait(); also drops what nobody took. NULL is allowed. */
void blob_writer_free(struct blob_writer *w);

#endif
