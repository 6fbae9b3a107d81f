/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Adding to an OCI image layout on disk. */
#ifndef IMAGE_LAYOUT_WRITE_H
#define IMAGE_LAYOUT_WRITE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "lib/base/outfile.h"

/* A blob to be added: unnamed, or already named in a directory that is being filled. */
struct layout_blob {
	struct outfile *file;
	char *staged; /* its path there, or NULL */
	struct digest digest;
	uint64_t size;
};

/*
 * Wait for the lock on the directory `dir`: a descriptor to be closed. On filesystems without
 * such locks a warning is logged and the work goes on.
 */
int layout_lock(const char *dir, struct error **err);

/* Remove the hidden files that killed processes left in it. */
void layout_sweep(const char *dir);

/* *empty, or a layout; a directory with anything else in it is an error. */
int layout_examine(const char *dir, bool *empty, struct error **err);

/* An index without manifests. */
json_t *layout_new_index(void);

/*
 * Put a descriptor into the index. One with the same tag is replaced in its place; without a
 * tag, one that has none either and the same digest. Else it is appended.
 */
void layout_index_put(json_t *index, json_t *entry, const char *tag);

/* Make a layout in the empty directory `dir`, which nobody else knows. Stages the blobs there. */
int layout_fill(const char *dir, struct layout_blob *blobs, size_t n, const json_t *index,
	struct error **err);

/*
 * Add the blobs that are missing, then replace index.json; under the lock. When it fails, what
 * was added is taken back. `fresh`: the directory is empty.
 */
int layout_add(const char *dir, bool fresh, struct layout_blob *blobs, size_t n,
	const json_t *index, struct error **err);

#endif
