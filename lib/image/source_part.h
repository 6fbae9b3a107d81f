/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inside of image sources: one file for each family of transports fills the structure. */
#ifndef IMAGE_SOURCE_PART_H
#define IMAGE_SOURCE_PART_H

#include "lib/image/choose.h"
#include "lib/image/source.h"

/* Empty, of that reference. */
struct image_source *source_new(const struct image_ref *ref);

/*
 * Open only the place that the reference leads to, and find what it names there: an image manifest
 * or an index.
 */
struct image_source *source_open_named(
	const struct image_ref *ref, struct choice *c, struct error **err);

/* Where the files of oci:, oci-archive: and docker-archive: lie. */
struct bundle source_bundle(const struct image_source *src);

/* The same, or the registry of docker://. */
struct origin source_origin(const struct image_source *src);

/* source_oci.c: oci:, oci-archive: with src->archive open, docker:// with src->remote open. */
int source_open_oci(struct image_source *src, const struct platform *wanted, bool converted,
	struct error **err);
int source_find_named(const struct image_source *src, struct choice *c, struct error **err);
int source_open_oci_all(
	struct image_list *list, const struct image_source *first, struct error **err);

/* source_docker.c: docker-archive: with src->archive open. */
int source_open_docker(struct image_source *src, const struct platform *wanted, struct error **err);

/* source_registry.c: a blob or document of src, by its digest. */
int source_open_remote_blob(
	struct image_source *src, const struct digest *d, struct file_range *r, struct error **err);

/* source_tar.c */
int source_open_tars(struct image_source *src, const struct platform *wanted, struct error **err);
int source_open_tar_file(struct image_source *src, size_t i, struct error **err);

#endif
