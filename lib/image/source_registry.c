// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* docker:// at random access: what is asked for by its digest is fetched into a temporary file. */
#include "config.h"

#include "lib/base/mem.h"
#include "lib/image/manifest.h"
#include "lib/image/source_part.h"
#include "lib/stream/spool.h"

/* A manifest is no blob: a file with its bytes, for those who read files. */
static int open_manifest(struct image_source *src, struct file_range *r, struct error **err)
{
	const struct descriptor d = {
		.media_type = src->manifest_media_type,
		.digest = src->manifest_digest,
		.size = src->manifest_size,
	};
	struct origin where = source_origin(src);
	CLEANUP_FREE char *bytes = origin_read_bytes(&where, &d, "manifest", err);
	int fd = bytes ? spool_bytes(bytes, d.size, err) : -1;

	if (fd < 0)
		return -1;
	*r = (struct file_range){ fd, 0, d.size };
	return 0;
}

static const struct image_layer *find_layer(const struct image_source *src, const struct digest *d)
{
	for (size_t i = 0; i < src->n_layers; i++)
		if (digest_equal(&src->layers[i].digest, d))
			return &src->layers[i];
	return NULL;
}

int source_open_remote_blob(
	struct image_source *src, const struct digest *d, struct file_range *r, struct error **err)
{
	const struct image_layer *layer = find_layer(src, d);
	struct descriptor config;
	uint64_t size;

	if (digest_equal(d, &src->manifest_digest))
		return open_manifest(src, r, err);
	if (layer) {
		size = layer->size;
	} else {
		if (manifest_config(&config, src, err) < 0)
			return -1;
		if (!digest_equal(d, &config.digest))
			return error_set(err, 0, "%s: the image has no such blob", src->ref.spec);
		size = config.size;
	}
	return remote_open_blob(src->remote, d, size, r, err);
}
