/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Is this a bootstrap as docs/format/bootstrap.md describes it, and nothing else? That page
 * leaves one place for everything, so the validator goes through the tree breadth first and
 * finds each inode, each block and each index where the next one has to begin: nothing can
 * overlap, nothing can be left over, no directory comes twice, and all is read once.
 *
 * It trusts nothing it reads. Time is linear in the image's size. Memory is an eighth of the
 * inodes' bytes (touched only where there are hard links), some bits for each inode, and eight
 * bytes for each directory: never by what a field claims.
 *
 * Not looked at, because any value makes a sound image: which mtime is the epoch, which
 * xattrs are shared, the UUID beyond its version.
 */
#ifndef BOOTSTRAP_VALIDATE_H
#define BOOTSTRAP_VALIDATE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/bootstrap/bootstrap.h"

/* The data blobs that the device table must name, in this order. */
struct bootstrap_devices {
	const struct bootstrap_device *of;
	size_t n;
};

/* What a sound image holds. */
struct bootstrap_validation {
	uint64_t inodes, directories;
	uint64_t names; /* without "." and ".." */
	uint64_t chunk_indexes;
};

/*
 * 0 when the image is sound; else -1, and the error says what is wrong, at which byte, and,
 * inside the tree, under which path. `expected` and `result` may be NULL. The bytes must not
 * change meanwhile, nor before whoever is told that they are sound has read them.
 */
int bootstrap_validate(const void *image, uint64_t size, const struct bootstrap_devices *expected,
	struct bootstrap_validation *result, struct error **err);

/* The same for a file, which is mapped; the descriptor stays the caller's. */
int bootstrap_validate_fd(int fd, const struct bootstrap_devices *expected,
	struct bootstrap_validation *result, struct error **err);

#endif
