// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Blobs are written without a name. How they and the index come to be visible all at once is the
 * matter of dest_layout.c, dest_archive.c and dest_registry.c.
 */
#include "config.h"

#include "lib/image/dest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/image/dest_part.h"
#include "lib/image/dest_registry.h"
#include "lib/image/layout.h"
#include "lib/stream/verify.h"

enum { COPY_SIZE = 256 * 1024 };

struct image_dest {
	struct image_ref ref;
	enum progress_mode progress;
	struct dest_registry *registry; /* of docker://, else NULL and part is used */
	struct dest_part part;
};

static void split_path(struct dest_part *dest, const char *path)
{
	size_t n = strlen(path);
	const char *slash;

	while (n > 1 && path[n - 1] == '/')
		n--;
	dest->path = xstrndup(path, n);
	slash = strrchr(dest->path, '/');
	dest->name = xstrdup(slash ? slash + 1 : dest->path);
	if (!*dest->name || strcmp(dest->name, ".") == 0 || strcmp(dest->name, "..") == 0)
		return;
	if (!slash)
		dest->parent = xstrdup(".");
	else
		dest->parent = slash == dest->path
				       ? xstrdup("/")
				       : xstrndup(dest->path, (size_t)(slash - dest->path));
}

int dest_check_writable(const char *dir, struct error **err)
{
	if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) < 0)
		return error_set(err, errno, "cannot write to the directory %s", dir);
	return 0;
}

int dest_check_parent(const struct dest_part *dest, struct error **err)
{
	struct stat st;

	if (stat(dest->parent, &st) < 0) {
		error_set(
			err, errno, "cannot make %s in the directory %s", dest->name, dest->parent);
		return error_hint(err, "make that first: mkdir -p %s", dest->parent);
	}
	if (!S_ISDIR(st.st_mode))
		return error_set(err, 0, "%s is not a directory", dest->parent);
	return dest_check_writable(dest->parent, err);
}

static int prepare_files(struct image_dest *dest, struct error **err)
{
	struct dest_part *part = &dest->part;

	part->tag = dest->ref.tag ? xstrdup(dest->ref.tag) : NULL;
	split_path(part, dest->ref.path);
	if (part->tag && !image_ref_tag_is_valid(part->tag)) {
		error_set(err, 0, "\"%s\" is not a valid tag for an image layout", part->tag);
		return error_hint(
			err, "letters and digits, with one of - . _ : @ + / between them");
	}
	if (part->parent)
		outfile_sweep(part->parent);
	return dest->ref.transport == TRANSPORT_OCI ? dest_prepare_layout(part, err)
						    : dest_prepare_archive(part, err);
}

static int prepare(struct image_dest *dest, struct error **err)
{
	switch (dest->ref.transport) {
	case TRANSPORT_OCI:
	case TRANSPORT_OCI_ARCHIVE:
		return prepare_files(dest, err);
	case TRANSPORT_DOCKER:
		dest->registry = dest_registry_open(&dest->ref, err);
		return dest->registry ? 0 : -1;
	default:
		error_set(
			err, 0, "%s can only be read from", transport_prefix(dest->ref.transport));
		return error_hint(err,
			"write to an image layout, oci:DIR[:TAG] or "
			"oci-archive:FILE[:TAG], or a registry, docker://NAME[:TAG]");
	}
}

struct image_dest *image_dest_open(const struct image_ref *ref, struct error **err)
{
	CLEANUP_IMAGE_DEST struct image_dest *dest = xzalloc(sizeof(*dest));

	image_ref_copy(&dest->ref, ref);
	if (prepare(dest, err) == 0)
		return take_ptr(dest);
	error_wrap(err, "%s", ref->spec);
	return NULL;
}

void image_dest_mount_from(struct image_dest *dest, const char *repository)
{
	if (dest->registry && strcmp(repository, dest->ref.repository) != 0)
		uploader_mount_from(dest_registry_uploader(dest->registry), repository);
}

void image_dest_mount_from_source(struct image_dest *dest, const struct image_ref *source)
{
	if (dest->registry && source->transport == TRANSPORT_DOCKER &&
		strcmp(source->host, dest->ref.host) == 0)
		image_dest_mount_from(dest, source->repository);
}

void image_dest_show_progress(struct image_dest *dest, enum progress_mode mode)
{
	dest->progress = mode;
}

void image_dest_amount(struct image_dest *dest, struct upload_amount *amount)
{
	*amount = (struct upload_amount){ 0 };
	if (dest->registry)
		uploader_amount(dest_registry_uploader(dest->registry), amount);
}

/* ---- blobs ---- */

struct outfile *image_dest_new_blob(struct image_dest *dest, struct error **err)
{
	return outfile_new(dest->registry ? dest_registry_blob_dir() : dest->part.blob_dir, err);
}

static void keep_blob(
	struct dest_part *part, struct outfile *file, const struct digest *digest, uint64_t size)
{
	CLEANUP_OUTFILE struct outfile *mine = file;

	for (size_t i = 0; i < part->n; i++)
		if (digest_equal(&part->blobs[i].digest, digest))
			return;
	/* Towards the disk in the background, so that commit need not wait for all of it. */
	sync_file_range(outfile_fd(file), 0, 0, SYNC_FILE_RANGE_WRITE);
	part->blobs = xgrow(part->blobs, part->n, &part->cap, sizeof(*part->blobs));
	part->blobs[part->n++] =
		(struct layout_blob){ .file = take_ptr(mine), .digest = *digest, .size = size };
}

static int upload(struct image_dest *dest, const struct digest *digest, uint64_t size,
	struct upload_bytes bytes, struct error **err)
{
	struct uploader *u = dest_registry_uploader(dest->registry);

	if (uploader_add(u, digest, size, bytes, err) < 0)
		return error_wrap(err, "%s", dest->ref.spec);
	return 0;
}

int image_dest_add_blob(struct image_dest *dest, struct outfile *blob, const struct digest *digest,
	uint64_t size, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *file = blob;
	char text[DIGEST_MAX_STR];
	struct stat st;

	if (fstat(outfile_fd(file), &st) < 0)
		return error_set(err, errno, "%s: cannot read a blob's size", dest->ref.spec);
	if ((uint64_t)st.st_size != size)
		return error_set(err, 0, "%s: blob %s has %llu bytes where %llu were written",
			dest->ref.spec, digest_format(digest, text), (unsigned long long)st.st_size,
			(unsigned long long)size);
	if (!dest->registry) {
		keep_blob(&dest->part, take_ptr(file), digest, size);
		return 0;
	}
	return upload(dest, digest, size,
		(struct upload_bytes){ .file = take_ptr(file), .range = FILE_RANGE_NONE }, err);
}

static int copy_bytes(struct stream *in, struct outfile *out, struct error **err)
{
	CLEANUP_FREE char *buf = xmalloc(COPY_SIZE);
	uint64_t at = 0;
	ssize_t n;

	while ((n = in->read(in, buf, COPY_SIZE, err)) > 0) {
		if (outfile_pwrite(out, buf, (size_t)n, at, err) < 0)
			return -1;
		if (interrupt_pending())
			return error_set(err, 0, "interrupted; nothing has been written");
		at += (uint64_t)n;
	}
	return n < 0 ? -1 : 0;
}

/*
 * What the source refers to stays in its layout. A blob that is only there may be of a commit that
 * fails, and go with it.
 */
static bool is_source(const struct image_dest *dest, const struct origin *from)
{
	struct stat a, b;

	return dest->ref.transport == TRANSPORT_OCI && from->layout.dir &&
	       stat(dest->part.path, &a) == 0 && stat(from->layout.dir, &b) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int copy_to_files(struct image_dest *dest, const struct origin *from,
	const struct digest *digest, uint64_t size, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *file = NULL;
	CLEANUP_STREAM struct stream *s = origin_open_stream(from, digest, size, "a blob", err);

	if (!s)
		return -1;
	if (is_source(dest, from))
		return 0;
	s = stream_verify(s, digest, size);
	file = image_dest_new_blob(dest, err);
	if (!file || copy_bytes(s, file, err) < 0)
		return -1;
	return image_dest_add_blob(dest, take_ptr(file), digest, size, err);
}

int image_dest_copy_blob(struct image_dest *dest, const struct origin *from,
	const struct digest *digest, uint64_t size, struct error **err)
{
	struct upload_bytes bytes = { .range = FILE_RANGE_NONE };

	if (!dest->registry)
		return copy_to_files(dest, from, digest, size, err);
	if (from->remote)
		bytes.remote = remote_ref(from->remote);
	else if (layout_open_blob(&from->layout, digest, size, &bytes.range, err) < 0)
		return -1;
	return upload(dest, digest, size, bytes, err);
}

/* ---- manifests ---- */

int image_dest_add_manifest(struct image_dest *dest, const void *bytes, size_t size,
	const char *media_type, const struct digest *digest, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *file = NULL;

	if (size > MANIFEST_MAX_BYTES)
		return error_set(err, 0,
			"the manifest would have %zu bytes, more than the %u that "
			"registries take",
			size, MANIFEST_MAX_BYTES);
	if (dest->registry)
		return dest_registry_add_manifest(
			dest->registry, bytes, size, media_type, digest, err);
	file = image_dest_new_blob(dest, err);
	if (!file || outfile_pwrite(file, bytes, size, 0, err) < 0)
		return -1;
	return image_dest_add_blob(dest, take_ptr(file), digest, size, err);
}

/* The order of members is image-spec's, as Go tools write it. */
static json_t *new_entry(const struct image_dest *dest, const struct digest *digest, size_t size,
	const char *media_type, json_t *platform)
{
	char text[DIGEST_MAX_STR];
	json_t *entry = json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest",
		digest_format(digest, text), "size", (json_int_t)size);

	if (dest->part.tag)
		json_object_set_new(entry, "annotations",
			json_pack("{s:s}", ANNOTATION_REF_NAME, dest->part.tag));
	if (platform)
		json_object_set(entry, "platform", platform);
	return entry;
}

static int commit(struct image_dest *dest, json_t *entry, struct error **err)
{
	switch (dest->ref.transport) {
	case TRANSPORT_OCI:
		return dest_commit_layout(&dest->part, entry, err);
	case TRANSPORT_OCI_ARCHIVE:
		return dest_commit_archive(&dest->part, entry, err);
	default:
		return dest_registry_commit(dest->registry, dest->progress, err);
	}
}

int image_dest_commit(struct image_dest *dest, const void *manifest, size_t manifest_size,
	const char *media_type, json_t *platform, struct digest *manifest_digest,
	struct error **err)
{
	json_auto_t *entry = NULL;

	digest_of(manifest_digest, DIGEST_SHA256, manifest, manifest_size);
	entry = new_entry(dest, manifest_digest, manifest_size, media_type, platform);
	if (image_dest_add_manifest(
		    dest, manifest, manifest_size, media_type, manifest_digest, err) < 0 ||
		commit(dest, entry, err) < 0)
		return error_wrap(err, "%s", dest->ref.spec);
	return 0;
}

static void part_free(struct dest_part *part)
{
	for (size_t i = 0; i < part->n; i++) {
		outfile_free(part->blobs[i].file);
		free(part->blobs[i].staged);
	}
	free(part->blobs);
	free(part->path);
	free(part->parent);
	free(part->name);
	free(part->tag);
	free(part->blob_dir);
}

void image_dest_free(struct image_dest *dest)
{
	if (!dest)
		return;
	dest_registry_free(dest->registry);
	part_free(&dest->part);
	image_ref_free(&dest->ref);
	free(dest);
}
