/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inside of image destinations: one file for each kind knows how to prepare and to commit. */
#ifndef IMAGE_DEST_PART_H
#define IMAGE_DEST_PART_H

#include <jansson.h>

#include "lib/image/dest.h"
#include "lib/image/layout_write.h"

struct dest_part {
	char *path; /* without slashes at its end */
	char *parent; /* of path, and its name there; NULL where that is unknown ("..") */
	char *name;
	char *tag;
	char *blob_dir; /* where unnamed blobs can be made, on the right filesystem */
	struct layout_blob *blobs;
	size_t n, cap;
};

int dest_check_writable(const char *dir, struct error **err);

/* dest->parent is a directory that can be written to. */
int dest_check_parent(const struct dest_part *dest, struct error **err);

/*
 * prepare: check that writing will be possible, clean up what killed processes left, and set
 * blob_dir. commit: all blobs, and the index entry (its tag is in it).
 */
int dest_prepare_layout(struct dest_part *dest, struct error **err);
int dest_commit_layout(struct dest_part *dest, json_t *entry, struct error **err);
int dest_prepare_archive(struct dest_part *dest, struct error **err);
int dest_commit_archive(struct dest_part *dest, json_t *entry, struct error **err);

#endif
