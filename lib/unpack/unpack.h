/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The tree of a converted image, back as files or as a tar. */
#ifndef UNPACK_UNPACK_H
#define UNPACK_UNPACK_H

#include "lib/base/progress.h"
#include "lib/image/source.h"
#include "lib/verify/summary.h"

struct unpack_options {
	unsigned jobs;
	enum progress_mode progress;
};

struct unpack_result {
	struct tree_sums tree;
	/* What the system did not let an ordinary user make, or a tar cannot say. */
	struct {
		uint64_t owners, modes, times, xattrs, devices, sockets;
	} left_out;
	uint64_t tar_bytes;
};

/*
 * All verify the manifest and the bootstrap by digest before anything is made, and the data
 * blobs beside; what was made of a blob that proves to be damaged is removed again. One warning
 * says what was left out.
 */

/*
 * As files. The directory appears whole, by a rename, if it does not exist; one that exists
 * must be empty, is filled where it is, and emptied again on failure. Whoever is root gets
 * everything exactly; to others, what they may not make is left out.
 */
int unpack_to_dir(struct image_source *src, const char *dir, const struct unpack_options *options,
	struct unpack_result *result, struct error **err);

/* As a tar, which is a function of the tree alone. The file appears whole. */
int unpack_to_tar(struct image_source *src, const char *file, const struct unpack_options *options,
	struct unpack_result *result, struct error **err);

/* The same into a descriptor that is open for writing, once the blobs are verified. */
int unpack_to_stream(struct image_source *src, int fd, const struct unpack_options *options,
	struct unpack_result *result, struct error **err);

#endif
