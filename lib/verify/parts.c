// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/parts.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/bootstrap/validate.h"
#include "lib/image/layout.h"
#include "lib/stream/spool.h"

#define READ_SIZE 262144u

struct image_source *parts_open_image(
	const char *spec, const struct platform *wanted, struct error **err)
{
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };

	if (image_ref_parse(&ref, spec, err) < 0)
		return NULL;
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

int parts_check_raw(const struct image_layer *l, struct error **err)
{
	if (!strcmp(l->media_type, EROFS_MEDIA_TYPE))
		return 0;
	if (!strcmp(l->media_type, EROFS_MEDIA_TYPE_ZSTD)) {
		error_set(err, 0, "%s is compressed: this version reads raw EROFS only", l->name);
		return error_hint(err, "erofs-convert convert --compression none");
	}
	return error_set(err, 0, "%s has the media type %s instead of %s", l->name, l->media_type,
		EROFS_MEDIA_TYPE);
}

/* The file's absolute path, if it is one and has the descriptor's size. The caller frees it. */
static char *find_file(struct image_source *src, const struct image_layer *l, struct error **err)
{
	CLEANUP_FREE char *path = image_source_blob_path(src, &l->digest, err);
	CLEANUP_FREE char *real = NULL;
	struct stat st;

	if (!path)
		return NULL;
	real = realpath(path, NULL);
	if (!real || stat(real, &st) < 0) {
		error_set(err, errno, "%s: cannot look at %s", l->name, path);
		error_hint(err, "copying the image again: the layout is not complete");
		return NULL;
	}
	if (!S_ISREG(st.st_mode)) {
		error_set(err, 0, "%s: %s is not a regular file", l->name, real);
		return NULL;
	}
	if ((uint64_t)st.st_size != l->size) {
		error_set(err, 0, "%s: %s has %jd bytes, its descriptor says %" PRIu64, l->name,
			real, (intmax_t)st.st_size, l->size);
		error_hint(err, "copying the image again");
		return NULL;
	}
	return take_ptr(real);
}

static int check_digest(int fd, const struct image_layer *l, struct error **err)
{
	CLEANUP_HASHER struct hasher *h = hasher_new(l->digest.algo);
	CLEANUP_FREE uint8_t *buf = xmalloc(READ_SIZE);
	struct digest d;
	off_t at = 0;
	ssize_t n;

	for (; (n = pread(fd, buf, READ_SIZE, at)) > 0; at += n)
		hasher_update(h, buf, (size_t)n);
	if (n < 0)
		return error_set(err, errno, "%s: cannot read it", l->name);
	hasher_final(h, &d);
	if (digest_equal(&d, &l->digest))
		return 0;
	error_set(err, 0, "%s: its bytes have another digest", l->name);
	return error_hint(err, "copying the image again: the blob is damaged");
}

/* What lies in an archive is copied out: bytes that are mapped begin at a page. */
int parts_bootstrap_fd(struct image_source *src, const struct image_layer *l, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range range = FILE_RANGE_NONE;
	CLEANUP_STREAM struct stream *s = NULL;
	uint64_t size;

	if (parts_check_raw(l, err) < 0)
		return -1;
	if (image_source_open_blob(src, &l->digest, &range, err) < 0)
		return error_wrap(err, "%s, the bootstrap", l->name);
	if (!src->archive)
		return take_fd(&range.fd);
	s = stream_from_range(take_fd(&range.fd), range.offset, range.size, l->name);
	return stream_spool(s, &size, err);
}

int parts_validate(int fd, const struct erofs_found *found, struct error **err)
{
	CLEANUP_FREE struct bootstrap_device *of = xcalloc(found->n_devices + 1, sizeof(*of));
	const struct bootstrap_devices expected = { of, found->n_devices };

	for (size_t i = 0; i < found->n_devices; i++) {
		const struct image_layer *l = found->devices[i];

		if (l->size / EROFS_BLOCK_SIZE > UINT32_MAX)
			return error_set(err, 0, "%s: more than 2^32 blocks", l->name);
		of[i] = (struct bootstrap_device){ l->digest,
			(uint32_t)(l->size / EROFS_BLOCK_SIZE) };
	}
	return bootstrap_validate_fd(fd, &expected, NULL, err);
}

static struct bootstrap *open_verified(int fd, const struct image_layer *l, struct error **err)
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

	return fd < 0 ? NULL : open_verified(fd, l, err);
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

int parts_check_device(
	const struct bootstrap *b, unsigned i, const struct image_layer *l, struct error **err)
{
	struct erofs_device_slot slot;
	char hex[DIGEST_MAX_STR];

	if (bootstrap_device(b, i, &slot, err) < 0)
		return error_wrap(err, "%s", l->name);
	/* the tag holds 64 characters: all of a SHA-256, half of a SHA-512 */
	if (strncmp(slot.tag, digest_hex(&l->digest, hex), 64) != 0)
		return error_set(
			err, 0, "%s: device %u of the bootstrap is another blob", l->name, i + 1);
	if (l->size % EROFS_BLOCK_SIZE) /* the kernel cannot read a partial last block */
		return error_set(err, 0, "%s: %" PRIu64 " bytes are not whole blocks of %u",
			l->name, l->size, EROFS_BLOCK_SIZE);
	if (l->size / EROFS_BLOCK_SIZE != slot.blocks)
		return error_set(err, 0,
			"%s: it has %" PRIu64 " blocks, the device table says %" PRIu32, l->name,
			l->size / EROFS_BLOCK_SIZE, slot.blocks);
	return 0;
}

static int find_devices(struct mountable *m, struct image_source *src, const struct bootstrap *b,
	const struct erofs_found *found, struct error **err)
{
	if (parts_check_count(b, found, err) < 0)
		return -1;
	m->devices = xcalloc(found->n_devices, sizeof(*m->devices));
	for (; m->n_devices < found->n_devices; m->n_devices++) {
		const struct image_layer *l = found->devices[m->n_devices];

		if (parts_check_raw(l, err) < 0 ||
			parts_check_device(b, (unsigned)m->n_devices, l, err) < 0)
			return -1;
		m->devices[m->n_devices] = find_file(src, l, err);
		if (!m->devices[m->n_devices])
			return -1;
	}
	return 0;
}

/* The kernel is only asked to mount what the validator accepts. */
static int find_all(struct mountable *m, struct image_source *src, const struct erofs_found *found,
	struct error **err)
{
	CLEANUP_FD int fd = -1;

	if (parts_check_raw(found->bootstrap, err) < 0)
		return -1;
	m->digest = found->bootstrap->digest;
	m->bootstrap = find_file(src, found->bootstrap, err);
	if (!m->bootstrap)
		return -1;
	fd = parts_bootstrap_fd(src, found->bootstrap, err);
	if (fd < 0 || !(m->tree = open_verified(fd, found->bootstrap, err)) ||
		find_devices(m, src, m->tree, found, err) < 0)
		return -1;
	if (parts_validate(fd, found, err) < 0)
		return error_wrap(err, "%s, the bootstrap", found->bootstrap->name);
	return 0;
}

int mountable_find(struct mountable *m, struct image_source *src, struct error **err)
{
	CLEANUP(erofs_found_free) struct erofs_found found = { 0 };

	*m = (struct mountable){ 0 };
	if (erofs_image_find(&found, src, err) < 0)
		return -1;
	if (find_all(m, src, &found, err) < 0) {
		mountable_free(m);
		return error_wrap(err, "%s", src->ref.spec);
	}
	return 0;
}

void mountable_free(struct mountable *m)
{
	for (size_t i = 0; i < m->n_devices; i++)
		free(m->devices[i]);
	cleanup_bootstrap_(&m->tree);
	free(m->devices);
	free(m->bootstrap);
	*m = (struct mountable){ 0 };
}
