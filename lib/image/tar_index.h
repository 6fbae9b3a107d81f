/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What lies where in a tar that is a file: read off its headers, with the data between them
 * skipped. For the outer tar of an image archive; layers are lib/layer's business.
 */
#ifndef IMAGE_TAR_INDEX_H
#define IMAGE_TAR_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

enum tar_member_kind { MEMBER_FILE, MEMBER_HARDLINK, MEMBER_SYMLINK, MEMBER_SPARSE, MEMBER_OTHER };

struct tar_member {
	char *name; /* cleaned: no ".", "..", doubled or outer slashes; "" is the root */
	char *link; /* of links, as the tar has it; else NULL */
	uint64_t offset, size; /* of its data */
	enum tar_member_kind kind;
};

struct tar_index {
	struct tar_member *v; /* by name; of one name the last in the tar, as unpacking gives */
	size_t n, cap;
	size_t text; /* bytes of names and links */
};

/* An archive of images has some hundred members; what is far beyond is not one. */
#define TAR_INDEX_MAX_MEMBERS 200000u
#define TAR_INDEX_MAX_TEXT    (32u << 20)

/*
 * Index the tar in the first `size` bytes of the file. It is an error if a member's data reaches
 * beyond them, or its name out of the archive.
 */
int tar_index_read(struct tar_index *x, int fd, uint64_t size, struct error **err);
void tar_index_free(struct tar_index *x); /* what it holds, not x itself */

/*
 * The regular file of that name, links followed within the archive. NULL on error; when there is
 * no such member, with the code ENOENT.
 */
const struct tar_member *tar_index_find(
	const struct tar_index *x, const char *name, struct error **err);

#endif
