// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/serve/shared_blob.h"

enum { PIECE = 1024 * 1024 }; /* bytes */

/* What the image gives is verified, and complete. */
static int copy(struct store_blob *b, const struct file_range *r, struct error **err)
{
	CLEANUP_FREE char *buf = xmalloc(PIECE);

	if (store_blob_reserve(b, r->size, err) < 0)
		return -1;
	for (uint64_t at = 0; at < r->size;) {
		size_t want = r->size - at < PIECE ? (size_t)(r->size - at) : PIECE;
		ssize_t n = pread(r->fd, buf, want, (off_t)(r->offset + at));
		bool last = n > 0 && at + (uint64_t)n == r->size;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, n < 0 ? errno : EIO, "cannot read the blob");
		if (last) /* its only frame is there with the last piece */
			return store_blob_write(b, 0, at, buf, (size_t)n, err);
		if (pwrite(store_blob_fd(b), buf, (size_t)n, (off_t)at) != n)
			return error_set(err, errno, "cannot write %s", store_blob_path(b));
		at += (uint64_t)n;
	}
	return 0;
}

struct store_blob *store_whole_blob(struct store *s, struct image_source *image,
	const struct image_layer *layer, struct error **err)
{
	const struct store_spec spec = {
		.digest = layer->digest, .index = layer->digest, .size = layer->size, .n_frames = 1
	};
	CLEANUP_STORE_BLOB struct store_blob *b = store_blob_open(s, &spec, err);
	CLEANUP_FILE_RANGE struct file_range range = FILE_RANGE_NONE;

	if (!b || store_blob_is_complete(b))
		return take_ptr(b);
	if (image_source_open_blob(image, &layer->digest, &range, err) < 0)
		return NULL;
	if (range.size != layer->size) {
		error_set(err, 0, "%s has another size than its descriptor says", layer->name);
		return NULL;
	}
	if (copy(b, &range, err) < 0 || store_blob_sync(b, err) < 0) {
		error_wrap(err, "%s", layer->name);
		return NULL;
	}
	return take_ptr(b);
}
