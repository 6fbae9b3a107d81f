/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Writing the bootstrap: the merged tree as an EROFS image of metadata only, whose files point
 * into data blobs. docs/format/bootstrap.md describes what is written.
 */
#ifndef BOOTSTRAP_BOOTSTRAP_H
#define BOOTSTRAP_BOOTSTRAP_H

#include "lib/base/digest.h"
#include "lib/base/outfile.h"
#include "lib/tree/tree.h"

/* A data blob, in the order of device numbers. */
struct bootstrap_device {
	struct digest tag; /* of the blob as its descriptor has it */
	uint32_t blocks;
};

struct bootstrap_input {
	struct tree *tree; /* children are put in order, inodes get their places */
	const struct bootstrap_device *devices;
	size_t n_devices;
	const char *identity; /* the UUID is made from this text: equal text, equal UUID */
};

struct bootstrap_result {
	struct digest digest; /* of the file */
	uint64_t size; /* bytes; whole blocks */
	uint64_t inodes, compact_inodes;
	uint64_t chunk_indexes;
};

/* Write the image into `file`, in one pass from its first byte to its last. */
int bootstrap_write(const struct bootstrap_input *in, struct outfile *file,
	struct bootstrap_result *result, struct error **err);

#endif
