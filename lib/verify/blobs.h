/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The one pass over a blob's bytes: its size and digest against the descriptor; of a compressed
 * one, its chunk index, and each frame against that; its uncompressed digest against annotation
 * and config; and what lib/verify/blob_content.h looks for.
 *
 * That is also all there is to reading the data back: each block that a file has is known to lie
 * within the device (lib/verify/structure.c), and each byte of the device is read here and
 * covered by a digest. A second read through the chunk indexes of the bootstrap would find the
 * same bytes at the same offsets.
 */
#ifndef VERIFY_BLOBS_H
#define VERIFY_BLOBS_H

#include <stdatomic.h>

#include "lib/base/workers.h"
#include "lib/image/source.h"
#include "lib/verify/blob_content.h"

enum { BAD_FRAMES_MAX = 10 }; /* kept of each blob */

struct bad_frame {
	uint64_t offset; /* of the frame, in the device */
	uint32_t size;
	struct error *fault;
};

struct blob {
	struct job job;
	struct image_source *src;
	size_t layer;
	struct blob_content content; /* what it says is to be set, is set */
	_Atomic uint64_t *done; /* counts bytes, for the progress */
	/* found by the pass */
	uint64_t size; /* bytes read */
	struct error *fault;
	struct bad_frame bad[BAD_FRAMES_MAX];
	size_t n_bad; /* of all, also those not kept */
};

/* Begin the pass on a worker; all above "found" is set but for the job. */
void blob_post(struct blob *blob, struct workers *w);

/*
 * The faults, after workers_wait(). With the bootstrap (or NULL) they name the files that are
 * concerned.
 */
void blob_report(struct blob *blob, const struct bootstrap *b, struct faults *faults);

/* Did the pass find anything wrong with its bytes? After workers_wait(). */
static inline bool blob_is_bad(const struct blob *blob)
{
	return blob->fault || blob->n_bad;
}

void blob_free(struct blob *blob); /* what the pass found, not blob itself */

#endif
