/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Which blocks of the devices files refer to, and how often: what deduplication saved, as far
 * as the result alone can tell. Memory for the runs of all files (16 to 40 bytes each), however
 * large the devices are; time is that of sorting them.
 *
 * Of the references to a block one pays for it, all others are saved. A file's newest device is
 * the highest that it refers to. A saved reference is "within" the device when that is the
 * newest device of its file, and so of the one that pays; else, since the file also has data in
 * a newer device and so came with a later layer, it is "across" layers. A file of a later layer
 * all of whose data was there already looks like one of the older layer and counts as that.
 */
#ifndef VERIFY_SHARING_H
#define VERIFY_SHARING_H

#include "lib/bootstrap/read.h"

struct sharing_device {
	uint64_t files; /* that refer to it */
	uint64_t mapped; /* bytes that files refer to: each reference counts */
	uint64_t used; /* bytes of its blocks that any file refers to */
	uint64_t within, across; /* bytes saved; with `used` they add up to `mapped` */
};

/* One file's blocks. */
struct sharing_file {
	uint64_t runs;
	uint64_t mapped; /* bytes in whole blocks */
	uint64_t holes, hole_bytes;
};

struct sharing;
struct sharing *sharing_new(unsigned n_devices);
void sharing_free(struct sharing *s); /* NULL is allowed */

/* Take in a regular file, once for each inode. */
int sharing_add(struct sharing *s, const struct bootstrap *b, const struct bootstrap_inode *inode,
	struct sharing_file *file, struct error **err);

/* When all files are in; no more can be added. */
void sharing_count(struct sharing *s);

/* Then: what became of device i (0 and up). */
const struct sharing_device *sharing_device(const struct sharing *s, unsigned i);

/* And: how many bytes of the file lie in blocks that it or another refers to once more. */
int sharing_of(const struct sharing *s, const struct bootstrap *b,
	const struct bootstrap_inode *inode, uint64_t *bytes, struct error **err);

static inline void cleanup_sharing_(struct sharing **s)
{
	sharing_free(*s);
}

#define CLEANUP_SHARING CLEANUP(cleanup_sharing_)

#endif
