/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Files by name, in a directory or in a tar: an image layout may lie in either. */
#ifndef IMAGE_BUNDLE_H
#define IMAGE_BUNDLE_H

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/image/archive.h"

/* One of the two; both stay the owner's. */
struct bundle {
	const char *dir;
	const struct archive *archive;
};

#define BUNDLE_DIR(path) (&(struct bundle){ .dir = (path) })

/* Bytes [offset, offset + size) of a file that others may read too: pread(), never read(). */
struct file_range {
	int fd; /* the caller's to close */
	uint64_t offset, size;
};

/*
 * Open the regular file of that name ("index.json", "blobs/sha256/..."). The error has the code
 * ENOENT when there is none.
 */
int bundle_open(const struct bundle *b, const char *name, struct file_range *r, struct error **err);

/* All of it, of `max` bytes at most, and a NUL behind; the caller frees it. */
char *bundle_read(
	const struct bundle *b, const char *name, uint64_t max, size_t *size, struct error **err);

/* The file as a message names it: "DIR/index.json", "index.json in FILE". The caller frees it. */
char *bundle_name(const struct bundle *b, const char *name);

static inline void cleanup_file_range_(struct file_range *r)
{
	if (r->fd >= 0)
		close(r->fd);
}

#define CLEANUP_FILE_RANGE CLEANUP(cleanup_file_range_)
#define FILE_RANGE_NONE	   ((struct file_range){ .fd = -1 })

/* All of an open range into p. `name` is for errors. */
int file_range_read(const struct file_range *r, void *p, const char *name, struct error **err);

#endif
