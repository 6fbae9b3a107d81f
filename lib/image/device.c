// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/device.h"

#include <inttypes.h>

#include "fmt/chunk_index.h"
#include "lib/base/mem.h"
#include "lib/image/erofs.h"

static int open_blob(struct image_source *src, const struct image_layer *l, struct file_range *r,
	struct error **err)
{
	if (image_source_open_blob(src, &l->digest, r, err) < 0)
		return error_wrap(err, "%s", l->name);
	if (r->size == l->size)
		return 0;
	error_set(err, 0, "%s: it has %" PRIu64 " bytes, its descriptor says %" PRIu64, l->name,
		r->size, l->size);
	return error_hint(err, "copying the image again");
}

/* What the skippable frame holds is believed once its digest is right. */
static struct range_map *read_map(const struct file_range *blob, const struct erofs_index *index,
	const char *name, struct error **err)
{
	struct file_range where = { .fd = blob->fd, .offset = blob->offset + index->offset };
	uint64_t size = index->end - index->offset - CHUNK_INDEX_SKIPPABLE;
	uint8_t head[CHUNK_INDEX_SKIPPABLE];
	CLEANUP_FREE uint8_t *payload = NULL;
	struct fault fault;

	if (size > RANGE_MAP_BYTES_MAX) {
		error_set(err, 0, "its chunk index has %" PRIu64 " bytes, more than %d", size,
			RANGE_MAP_BYTES_MAX);
		return NULL;
	}
	where.size = sizeof(head);
	if (file_range_read(&where, head, name, err) < 0)
		return NULL;
	if (chunk_index_get_skippable(head, size, &fault) < 0) {
		error_set(err, 0, "byte %" PRIu64 ": %s", index->offset + fault.offset, fault.what);
		return NULL;
	}
	where.offset += sizeof(head);
	where.size = size;
	payload = xmalloc((size_t)size);
	if (file_range_read(&where, payload, name, err) < 0)
		return NULL;
	return range_map_new(
		take_ptr(payload), (size_t)size, index->offset, UINT64_MAX, &index->digest, err);
}

static struct range_map *open_map(
	const struct file_range *blob, const struct image_layer *l, struct error **err)
{
	struct erofs_index index;
	struct range_map *map;

	if (erofs_layer_index(l, &index, err) < 0)
		return NULL;
	map = read_map(blob, &index, l->name, err);
	if (!map)
		error_wrap(err, "%s: its chunk index", l->name);
	return map;
}

struct range_map *image_range_map_open(
	struct image_source *src, const struct image_layer *l, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;

	return open_blob(src, l, &r, err) < 0 ? NULL : open_map(&r, l, err);
}

struct device *image_device_open(struct image_source *src, const struct image_layer *l,
	struct frame_cache *cache, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;
	int zstd = erofs_layer_is_zstd(l, err);
	struct range_map *map;

	if (zstd < 0 || open_blob(src, l, &r, err) < 0)
		return NULL;
	if (!zstd)
		return device_open_raw(take_fd(&r.fd), r.offset, r.size, l->name);
	map = open_map(&r, l, err);
	return map ? device_open_zstd(take_fd(&r.fd), r.offset, map, cache, l->name) : NULL;
}

int image_device_size(
	struct image_source *src, const struct image_layer *l, uint64_t *size, struct error **err)
{
	CLEANUP_RANGE_MAP struct range_map *map = NULL;
	int zstd = erofs_layer_is_zstd(l, err);

	*size = l->size;
	if (zstd <= 0)
		return zstd;
	map = image_range_map_open(src, l, err);
	if (!map)
		return -1;
	*size = range_map_device_size(map);
	return 0;
}
