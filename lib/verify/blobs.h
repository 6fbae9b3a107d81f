/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The one pass over a blob's bytes: its size and digest against the descriptor, its diff_id
 * against the config, and, of a data blob, its constant first block and the bytes behind the
 * files' ends.
 *
 * That is also all there is to reading a raw blob's data back: each block that a file has is
 * known to lie within the blob (lib/verify/structure.c), and each byte of the blob is read here
 * and covered by the digest. A second read through the chunk indexes would find the same bytes
 * at the same offsets. Where a blob is not its own device (compressed), it would not.
 */
#ifndef VERIFY_BLOBS_H
#define VERIFY_BLOBS_H

#include <stdatomic.h>

#include "lib/base/workers.h"
#include "lib/image/source.h"
#include "lib/verify/faults.h"
#include "lib/verify/structure.h"

enum { BAD_TAILS_MAX = 10 }; /* kept of each blob */

struct bad_tail {
	const struct tail *tail;
	uint16_t at; /* the first byte of the block that should be zero */
};

struct blob {
	struct job job;
	struct image_source *src;
	size_t layer;
	bool is_device;
	const struct tail *tails; /* its own, by block */
	size_t n_tails;
	_Atomic uint64_t *done; /* counts bytes, for the progress */
	/* found by the pass */
	uint64_t size; /* bytes read */
	struct error *fault;
	bool first_differs;
	uint16_t first_at; /* where the first block differs */
	struct bad_tail bad[BAD_TAILS_MAX];
	size_t n_bad; /* of all, also those not kept */
};

/* Begin the pass on a worker; all above "found" is set but for the job. */
void blob_post(struct blob *blob, struct workers *w);

/*
 * The faults, after workers_wait(). With the bootstrap (or NULL) they name the files that are
 * concerned.
 */
void blob_report(struct blob *blob, const struct bootstrap *b, struct faults *faults);

#endif
