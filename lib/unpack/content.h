/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The data of a file, in file order, from wherever the image has it. */
#ifndef UNPACK_CONTENT_H
#define UNPACK_CONTENT_H

#include "lib/blob/device.h"
#include "lib/bootstrap/read.h"

struct content {
	const struct bootstrap *bootstrap;
	struct device *const *devices; /* as many as the bootstrap has */
};

/* Each returns 0 to go on. Offsets are bytes into the file; len is not 0. */
struct content_sink {
	int (*data)(void *arg, uint64_t offset, const uint8_t *p, size_t len, struct error **err);
	int (*hole)(void *arg, uint64_t offset, uint64_t len, struct error **err);
	void *arg;
};

/* Has the file a hole? 1, 0, or -1 with *err. */
int content_has_holes(
	const struct content *c, const struct bootstrap_inode *file, struct error **err);

/*
 * All of it, until size bytes are accounted for. With `find_zeros` a whole block of zeros is a
 * hole, also where it is stored: so is padding beside the data of a sparse file.
 */
int content_read(const struct content *c, const struct bootstrap_inode *file, bool find_zeros,
	const struct content_sink *sink, struct error **err);

#endif
