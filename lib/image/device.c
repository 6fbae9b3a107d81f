// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/device.h"

#include <inttypes.h>
#include <string.h>

#include "lib/image/erofs.h"

struct device *image_device_open(
	struct image_source *src, const struct image_layer *l, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;

	if (strcmp(l->media_type, EROFS_MEDIA_TYPE) != 0) {
		error_set(err, 0, "%s: blobs of the type %s cannot be read yet", l->name,
			l->media_type);
		return NULL;
	}
	if (image_source_open_blob(src, &l->digest, &r, err) < 0) {
		error_wrap(err, "%s", l->name);
		return NULL;
	}
	if (r.size != l->size) {
		error_set(err, 0, "%s: it has %" PRIu64 " bytes, its descriptor says %" PRIu64,
			l->name, r.size, l->size);
		error_hint(err, "copying the image again");
		return NULL;
	}
	return device_open_raw(take_fd(&r.fd), r.offset, r.size, l->name);
}
