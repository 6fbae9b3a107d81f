// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/parts.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/bootstrap/validate.h"
#include "lib/image/device.h"
#include "lib/image/layout.h"
#include "lib/stream/spool.h"

#define READ_SIZE 262144u

/* What is not asked for more than its index says; and what any bootstrap may have. */
#define SIZE_SMALL (UINT64_C(64) << 20)
#define SIZE_LARGE (UINT64_C(1) << 30)
/* Beyond that, bytes for each that is stored. Ours have some tens; a file that is nearly all hole
 * has 2,000, and needs to be one of 64 TiB. zstd can have 30,000. */
#define RATIO_MAX 1024

struct image_source *parts_open_image(const char *spec, const struct registry_options *registry,
	const struct platform *wanted, struct error **err)
{
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };

	if (image_ref_parse(&ref, spec, err) < 0)
		return NULL;
	ref.registry = registry;
	return image_source_open_converted(&ref, wanted, err);
}

/*
 * Not for blobs of any size: manifests and configs, which image_source_open() has verified and
 * found to be no larger than registries take. Read again, because what was parsed is not what
 * was stored; so the digest is asked again, too.
 */
static char *read_whole(struct image_source *src, const struct digest *want, const char *what,
	size_t *size, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range range = FILE_RANGE_NONE;
	CLEANUP_FREE char *bytes = NULL;
	struct digest have;

	if (image_source_open_blob(src, want, &range, err) < 0)
		return NULL;
	range.size = range.size < MANIFEST_MAX_BYTES ? range.size : MANIFEST_MAX_BYTES;
	*size = (size_t)range.size;
	bytes = xmalloc(*size);
	if (file_range_read(&range, bytes, what, err) < 0)
		return NULL;
	digest_of(&have, want->algo, bytes, *size);
	if (digest_equal(&have, want))
		return take_ptr(bytes);
	error_set(err, 0, "%s: the %s has changed while it was read", src->ref.spec, what);
	return NULL;
}

char *parts_read_manifest(struct image_source *src, size_t *size, struct error **err)
{
	return read_whole(src, &src->manifest_digest, "manifest", size, err);
}

char *parts_read_config(struct image_source *src, size_t *size, struct error **err)
{
	const json_t *descriptor = json_object_get(src->manifest, "config");
	const char *text = json_string_value(json_object_get(descriptor, "digest"));
	struct digest d;

	if (digest_parse(&d, text ? text : "", err) < 0) {
		error_wrap(err, "%s: the config's descriptor", src->ref.spec);
		return NULL;
	}
	return read_whole(src, &d, "config", size, err);
}

int parts_content_digest(const struct image_layer *l, struct digest *d, struct error **err)
{
	int zstd = erofs_layer_is_zstd(l, err);
	const char *text;

	*d = l->digest;
	if (zstd <= 0)
		return zstd;
	text = json_string_value(json_object_get(l->annotations, EROFS_UNCOMPRESSED));
	if (digest_parse(d, text ? text : "", err) < 0)
		return error_wrap(err, "%s: " EROFS_UNCOMPRESSED, l->name);
	if (!l->has_diff_id || digest_equal(d, &l->diff_id))
		return 0;
	return error_set(err, 0, "%s: " EROFS_UNCOMPRESSED " is not the config's diff_id", l->name);
}

static int check_digest(int fd, const struct image_layer *l, struct error **err)
{
	CLEANUP_FREE uint8_t *buf = xmalloc(READ_SIZE);
	CLEANUP_HASHER struct hasher *h = NULL;
	struct digest d, want;
	off_t at = 0;
	ssize_t n;

	if (parts_content_digest(l, &want, err) < 0)
		return -1;
	h = hasher_new(want.algo);
	for (; (n = pread(fd, buf, READ_SIZE, at)) > 0; at += n)
		hasher_update(h, buf, (size_t)n);
	if (n < 0)
		return error_set(err, errno, "%s: cannot read it", l->name);
	hasher_final(h, &d);
	if (digest_equal(&d, &want))
		return 0;
	error_set(err, 0, "%s: its bytes have another digest", l->name);
	return error_hint(err, "copying the image again: the blob is damaged");
}

static int check_super(const struct device *d, struct error **err)
{
	uint8_t block[EROFS_BLOCK_SIZE];
	struct erofs_super super;
	struct fault fault;

	if (device_read(d, 0, block, sizeof(block), err) < 0)
		return -1;
	if (erofs_super_decode(&super, block, &fault) < 0)
		return error_set(err, 0, "byte %" PRIu64 ": %s", fault.offset, fault.what);
	if (device_size(d) / EROFS_BLOCK_SIZE == super.blocks)
		return 0;
	return error_set(err, 0,
		"its superblock counts %" PRIu32 " blocks, its chunk index %" PRIu64, super.blocks,
		device_size(d) / EROFS_BLOCK_SIZE);
}

static int check_size(const struct device *d, const struct image_layer *l, struct error **err)
{
	uint64_t size = device_size(d);

	if (size <= SIZE_SMALL)
		return 0;
	if (size > SIZE_LARGE && size / RATIO_MAX > l->size)
		error_set(err, 0,
			"its %" PRIu64 " bytes would be %" PRIu64 " when inflated, more than %d "
			"times as many",
			l->size, size, RATIO_MAX);
	else if (check_super(d, err) == 0)
		return 0;
	return error_wrap(err, "%s, the bootstrap", l->name);
}

static struct device *open_compressed(struct image_source *src, const struct image_layer *l,
	struct frame_cache *cache, struct error **err)
{
	CLEANUP_DEVICE struct device *d = image_device_open(src, l, cache, err);

	return d && check_size(d, l, err) == 0 ? take_ptr(d) : NULL;
}

int parts_check_inflated(struct image_source *src, const struct image_layer *l, struct error **err)
{
	CLEANUP_FRAME_CACHE struct frame_cache *cache = frame_cache_new(1);
	CLEANUP_DEVICE struct device *d = open_compressed(src, l, cache, err);

	return d ? 0 : -1;
}

/* A compressed one, to a file; each frame is verified. */
static int inflate_bootstrap(
	struct image_source *src, const struct image_layer *l, struct error **err)
{
	CLEANUP_FRAME_CACHE struct frame_cache *cache = frame_cache_new(1);
	struct device *device = open_compressed(src, l, cache, err);
	CLEANUP_STREAM struct stream *s = NULL;
	uint64_t size;

	if (!device)
		return -1;
	s = device_stream(device);
	return stream_spool(s, &size, err);
}

/* What lies in an archive is copied out: bytes that are mapped begin at a page. */
static int raw_bootstrap(struct image_source *src, const struct image_layer *l, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range range = FILE_RANGE_NONE;
	CLEANUP_STREAM struct stream *s = NULL;
	uint64_t size;

	if (image_source_open_blob(src, &l->digest, &range, err) < 0)
		return error_wrap(err, "%s, the bootstrap", l->name);
	if (!src->archive)
		return take_fd(&range.fd);
	s = stream_from_range(take_fd(&range.fd), range.offset, range.size, l->name);
	return stream_spool(s, &size, err);
}

int parts_bootstrap_fd(struct image_source *src, const struct image_layer *l, struct error **err)
{
	int zstd = erofs_layer_is_zstd(l, err);

	if (zstd < 0)
		return -1;
	return zstd ? inflate_bootstrap(src, l, err) : raw_bootstrap(src, l, err);
}

int parts_validate(
	int fd, const struct erofs_found *found, const uint64_t *sizes, struct error **err)
{
	CLEANUP_FREE struct bootstrap_device *of = xcalloc(found->n_devices + 1, sizeof(*of));
	const struct bootstrap_devices expected = { of, found->n_devices };

	for (size_t i = 0; i < found->n_devices; i++) {
		const struct image_layer *l = found->devices[i];
		uint64_t blocks = sizes[i] / EROFS_BLOCK_SIZE;

		if (blocks > UINT32_MAX)
			return error_set(err, 0, "%s: more than 2^32 blocks", l->name);
		of[i] = (struct bootstrap_device){ l->digest, (uint32_t)blocks };
	}
	return bootstrap_validate_fd(fd, &expected, NULL, err);
}

struct bootstrap *parts_open_verified(int fd, const struct image_layer *l, struct error **err)
{
	struct bootstrap *b;

	if (check_digest(fd, l, err) < 0)
		return NULL;
	b = bootstrap_open(fd, err);
	if (!b)
		error_wrap(err, "%s, the bootstrap", l->name);
	return b;
}

struct bootstrap *parts_open_bootstrap(
	struct image_source *src, const struct image_layer *l, struct error **err)
{
	CLEANUP_FD int fd = parts_bootstrap_fd(src, l, err);

	return fd < 0 ? NULL : parts_open_verified(fd, l, err);
}

int parts_check_count(
	const struct bootstrap *b, const struct erofs_found *found, struct error **err)
{
	unsigned n = bootstrap_super(b)->devices;

	if (n == found->n_devices)
		return 0;
	return error_set(err, 0, "%s: its device table has %u devices, the manifest %zu",
		found->bootstrap->name, n, found->n_devices);
}

int parts_check_device(const struct bootstrap *b, unsigned i, const struct image_layer *l,
	uint64_t size, struct error **err)
{
	struct erofs_device_slot slot;
	char hex[DIGEST_MAX_STR];

	if (bootstrap_device(b, i, &slot, err) < 0)
		return error_wrap(err, "%s", l->name);
	/* the tag holds 64 characters: all of a SHA-256, half of a SHA-512 */
	if (strncmp(slot.tag, digest_hex(&l->digest, hex), 64) != 0)
		return error_set(
			err, 0, "%s: device %u of the bootstrap is another blob", l->name, i + 1);
	if (size % EROFS_BLOCK_SIZE) /* the kernel cannot read a partial last block */
		return error_set(err, 0, "%s: %" PRIu64 " bytes are not whole blocks of %u",
			l->name, size, EROFS_BLOCK_SIZE);
	if (size / EROFS_BLOCK_SIZE != slot.blocks)
		return error_set(err, 0,
			"%s: it has %" PRIu64 " blocks, the device table says %" PRIu32, l->name,
			size / EROFS_BLOCK_SIZE, slot.blocks);
	return 0;
}
