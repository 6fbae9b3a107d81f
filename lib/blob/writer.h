/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Writing a data blob: blocks are gathered into frames; frames are numbered, encoded on any
 * thread in any order, and joined again by number for the file and its digests.
 */
#ifndef BLOB_WRITER_H
#define BLOB_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/outfile.h"
#include "lib/base/workers.h"

/*
 * What all blob writers of a run share: how many frames may be under way, and who waits while
 * there are too many.
 */
struct blob_flow;

/*
 * `feeder` is the strand whose jobs append blocks: it is paused while max_frames (2 or more)
 * frames of frame_size bytes are under way, the one that is being filled included. `failed` is told
 * of the first error, once, on some worker; it takes the error over.
 */
struct blob_flow *blob_flow_new(struct workers *workers, struct strand *feeder, size_t frame_size,
	unsigned max_frames, void (*failed)(void *arg, struct error *e), void *arg);
/* Is the feeder paused? Then the job that appends is to end soon, and to go on in another. */
bool blob_flow_is_full(struct blob_flow *flow);
void blob_flow_free(struct blob_flow *flow); /* after workers_wait(), and after the writers */

struct blob_writer;

/*
 * Start a blob in `file`, which the writer takes over. Its first frame is the one constant block
 * that makes it an empty EROFS image; block numbers of data begin at 1.
 */
struct blob_writer *blob_writer_new(struct blob_flow *flow, struct outfile *file);

/* Append one block: len bytes, 1 to 4096, the rest zeros. On the feeder only. Never blocks. */
void blob_writer_append(struct blob_writer *w, const void *data, size_t len);

/* No more blocks: the last frame goes its way. On the feeder only. */
void blob_writer_finish(struct blob_writer *w);

/* Once the workers are idle: what was written. */
struct blob_result {
	struct digest digest; /* of the file */
	uint64_t size; /* of the file, bytes */
	uint32_t blocks; /* of the device */
};

/* Hand over the file with its figures; the writer is freed, also on failure. */
struct outfile *blob_writer_close(struct blob_writer *w, struct blob_result *result);

/* Drop it and what it wrote; after workers_wait(). */
void blob_writer_free(struct blob_writer *w);

#endif
