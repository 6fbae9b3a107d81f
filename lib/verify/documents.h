/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Manifest and config of a converted image, as documents: what docs/format/image.md says of
 * their members and image_source_open() need not know to read the image.
 */
#ifndef VERIFY_DOCUMENTS_H
#define VERIFY_DOCUMENTS_H

#include "lib/image/source.h"
#include "lib/verify/faults.h"

/* Each fault names the member. */
void documents_check(const struct image_source *src, struct faults *faults);

/*
 * The config's members against the source's, but for those that a conversion changes: rootfs,
 * history, os.features. Nothing is said of a source that has no config of its own.
 */
void documents_compare(const struct image_source *src, const struct image_source *source,
	struct faults *differences);

#endif
