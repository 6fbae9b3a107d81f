/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inside of image sources: one file for each family of transports fills the structure. */
#ifndef IMAGE_SOURCE_PART_H
#define IMAGE_SOURCE_PART_H

#include "lib/image/choose.h"
#include "lib/image/source.h"

/* Empty, of that reference. */
struct image_source *source_new(const struct image_ref *ref);

/* Where the files of oci:, oci-archive: and docker-archive: lie. */
struct bundle source_bundle(const struct image_source *src);

/* source_layout.c: oci: and, when src->archive is open, oci-archive: */
int source_open_layout(struct image_source *src, const struct platform *wanted, bool converted,
	struct error **err);
int source_open_layout_all(
	struct image_list *list, const struct image_source *first, struct error **err);

/* source_docker.c: docker-archive: with src->archive open. */
int source_open_docker(struct image_source *src, const struct platform *wanted, struct error **err);

/* source_tar.c */
int source_open_tars(struct image_source *src, const struct platform *wanted, struct error **err);
int source_open_tar_file(struct image_source *src, size_t i, struct error **err);

#endif
