/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The parts of a converted image in a layout, each against its descriptor. This version reads
 * raw images only.
 */
#ifndef VERIFY_PARTS_H
#define VERIFY_PARTS_H

#include "lib/bootstrap/read.h"
#include "lib/image/erofs.h"
#include "lib/image/source.h"

/* Parse "TRANSPORT:REST" and open it; `wanted` as in image_source_open(). */
struct image_source *parts_open_image(
	const char *spec, const struct platform *wanted, struct error **err);

/* The bytes as they are stored, verified by digest; the caller frees them. */
char *parts_read_manifest(struct image_source *src, size_t *size, struct error **err);
char *parts_read_config(struct image_source *src, size_t *size, struct error **err);

/* Fails with a hint when the layer is not a raw EROFS image. */
int parts_check_raw(const struct image_layer *l, struct error **err);

/* Map the bootstrap, once its bytes have the size and digest of the descriptor. */
struct bootstrap *parts_open_bootstrap(
	struct image_source *src, const struct image_layer *l, struct error **err);

/*
 * The bootstrap as a file of its own, for those who verify its digest themselves: a descriptor,
 * the caller's to close.
 */
int parts_bootstrap_fd(struct image_source *src, const struct image_layer *l, struct error **err);

/* bootstrap_validate() on it, with the devices of the manifest; the error does not name it. */
int parts_validate(int fd, const struct erofs_found *found, struct error **err);

/* Does the bootstrap's device table have exactly these devices? */
int parts_check_count(
	const struct bootstrap *b, const struct erofs_found *found, struct error **err);
/* Device slot i against its descriptor: tag, size, whole blocks. */
int parts_check_device(
	const struct bootstrap *b, unsigned i, const struct image_layer *l, struct error **err);

/* What the kernel is given: absolute paths; and what it will read in the bootstrap. */
struct mountable {
	char *bootstrap;
	char **devices;
	size_t n_devices;
	struct bootstrap *tree;
	struct digest digest; /* of the bootstrap */
};

/* Verify all that the kernel trusts (not the devices' bytes) and find the files. */
int mountable_find(struct mountable *m, struct image_source *src, struct error **err);
void mountable_free(struct mountable *m); /* what it holds, not m itself */

#define CLEANUP_MOUNTABLE CLEANUP(mountable_free)

#endif
