/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The parts of a converted image, each against its descriptor. */
#ifndef IMAGE_PARTS_H
#define IMAGE_PARTS_H

#include "lib/bootstrap/read.h"
#include "lib/image/erofs.h"
#include "lib/image/source.h"

/*
 * Parse "TRANSPORT:REST" and open it; `wanted` as in image_source_open(). `registry` is for
 * docker://, NULL means the defaults.
 */
struct image_source *parts_open_image(const char *spec, const struct registry_options *registry,
	const struct platform *wanted, struct error **err);

/* The bytes as they are stored, verified by digest; the caller frees them. */
char *parts_read_manifest(struct image_source *src, size_t *size, struct error **err);
char *parts_read_config(struct image_source *src, size_t *size, struct error **err);

/*
 * The digest that the layer's uncompressed bytes must have: a raw one's own; of a compressed one,
 * that of its annotation, which must be the config's diff_id.
 */
int parts_content_digest(const struct image_layer *l, struct digest *d, struct error **err);

/* Map the bootstrap, uncompressed, once its bytes have that digest. */
struct bootstrap *parts_open_bootstrap(
	struct image_source *src, const struct image_layer *l, struct error **err);

/* The same for one that parts_bootstrap_fd() or a store has given. */
struct bootstrap *parts_open_verified(int fd, const struct image_layer *l, struct error **err);

/*
 * Before a compressed bootstrap is inflated, to whatever place: is it as large as its superblock
 * says, and no larger than what is stored of it can be? A few bytes can stand for many, and what
 * they are is seen by the validator only when all of them lie there. Its first frame is read.
 */
int parts_check_inflated(struct image_source *src, const struct image_layer *l, struct error **err);

/*
 * The bootstrap, uncompressed, as a file of its own, for those who verify its digest themselves: a
 * descriptor, the caller's to close.
 */
int parts_bootstrap_fd(struct image_source *src, const struct image_layer *l, struct error **err);

/*
 * bootstrap_validate() on it, with the devices of the manifest and their uncompressed sizes; the
 * error does not name it.
 */
int parts_validate(
	int fd, const struct erofs_found *found, const uint64_t *sizes, struct error **err);

/* Does the bootstrap's device table have exactly these devices? */
int parts_check_count(
	const struct bootstrap *b, const struct erofs_found *found, struct error **err);
/* Device slot i against its descriptor and its uncompressed size: tag, whole blocks. */
int parts_check_device(const struct bootstrap *b, unsigned i, const struct image_layer *l,
	uint64_t size, struct error **err);

#endif
