/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A tar of files, as oci-archive: and docker-archive: name it, with its members by name. */
#ifndef IMAGE_ARCHIVE_H
#define IMAGE_ARCHIVE_H

#include "lib/base/error.h"
#include "lib/image/tar_index.h"

struct archive {
	unsigned references;
	char *path; /* for messages */
	int fd; /* the tar, uncompressed: with pread() only */
	struct tar_index index;
};

/*
 * Open and index the tar in `path`; "-" is standard input. A regular file is read where it lies;
 * what is compressed (gzip, zstd) or comes from a pipe is first put into a temporary file.
 * Errors do not name the file: the reference does.
 */
struct archive *archive_open(const char *path, struct error **err);
struct archive *archive_ref(struct archive *a);
void archive_unref(struct archive *a); /* NULL is allowed */

static inline void cleanup_archive_(struct archive **a)
{
	archive_unref(*a);
}

#define CLEANUP_ARCHIVE CLEANUP(cleanup_archive_)

#endif
