// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Blobs are written without a name. How they and the index come to be visible all at once is the
 * matter of dest_layout.c and dest_archive.c.
 */
#include "config.h"

#include "lib/image/dest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/image/dest_part.h"
#include "lib/image/layout.h"

struct image_dest {
	char *spec;
	enum transport transport;
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

static int prepare(struct image_dest *dest, struct error **err)
{
	struct dest_part *part = &dest->part;

	if (part->tag && !image_ref_tag_is_valid(part->tag)) {
		error_set(err, 0, "\"%s\" is not a valid tag for an image layout", part->tag);
		return error_hint(
			err, "letters and digits, with one of - . _ : @ + / between them");
	}
	if (part->parent)
		outfile_sweep(part->parent);
	return dest->transport == TRANSPORT_OCI ? dest_prepare_layout(part, err)
						: dest_prepare_archive(part, err);
}

struct image_dest *image_dest_open(const struct image_ref *ref, struct error **err)
{
	CLEANUP_IMAGE_DEST struct image_dest *dest = xzalloc(sizeof(*dest));

	if (ref->transport != TRANSPORT_OCI && ref->transport != TRANSPORT_OCI_ARCHIVE) {
		error_set(err, 0, "%s: %s can only be read from", ref->spec,
			transport_prefix(ref->transport));
		error_hint(err, "write to an image layout: oci:DIR[:TAG], oci-archive:FILE[:TAG]");
		return NULL;
	}
	dest->spec = xstrdup(ref->spec);
	dest->transport = ref->transport;
	dest->part.tag = ref->tag ? xstrdup(ref->tag) : NULL;
	split_path(&dest->part, ref->path);
	if (prepare(dest, err) == 0)
		return take_ptr(dest);
	error_wrap(err, "%s", ref->spec);
	return NULL;
}

struct outfile *image_dest_new_blob(struct image_dest *dest, struct error **err)
{
	return outfile_new(dest->part.blob_dir, err);
}

int image_dest_add_blob(struct image_dest *dest, struct outfile *blob, const struct digest *digest,
	uint64_t size, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *file = blob;
	struct dest_part *part = &dest->part;
	char text[DIGEST_MAX_STR];
	struct stat st;

	if (fstat(outfile_fd(file), &st) < 0)
		return error_set(err, errno, "%s: cannot read a blob's size", dest->spec);
	if ((uint64_t)st.st_size != size)
		return error_set(err, 0, "%s: blob %s has %llu bytes where %llu were written",
			dest->spec, digest_format(digest, text), (unsigned long long)st.st_size,
			(unsigned long long)size);
	for (size_t i = 0; i < part->n; i++)
		if (digest_equal(&part->blobs[i].digest, digest))
			return 0;
	/* Towards the disk in the background, so that commit need not wait for all of it. */
	sync_file_range(outfile_fd(file), 0, 0, SYNC_FILE_RANGE_WRITE);
	part->blobs = xgrow(part->blobs, part->n, &part->cap, sizeof(*part->blobs));
	part->blobs[part->n++] =
		(struct layout_blob){ .file = take_ptr(file), .digest = *digest, .size = size };
	return 0;
}

static int add_manifest(struct image_dest *dest, const void *manifest, size_t size,
	struct digest *digest, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *file = NULL;

	if (size > MANIFEST_MAX_BYTES)
		return error_set(err, 0,
			"the manifest would have %zu bytes, more than the %u that "
			"registries take",
			size, MANIFEST_MAX_BYTES);
	file = image_dest_new_blob(dest, err);
	if (!file || outfile_pwrite(file, manifest, size, 0, err) < 0)
		return -1;
	digest_of(digest, DIGEST_SHA256, manifest, size);
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

int image_dest_commit(struct image_dest *dest, const void *manifest, size_t manifest_size,
	const char *media_type, json_t *platform, struct digest *manifest_digest,
	struct error **err)
{
	json_auto_t *entry = NULL;
	int rc;

	if (add_manifest(dest, manifest, manifest_size, manifest_digest, err) < 0)
		return error_wrap(err, "%s", dest->spec);
	entry = new_entry(dest, manifest_digest, manifest_size, media_type, platform);
	rc = dest->transport == TRANSPORT_OCI ? dest_commit_layout(&dest->part, entry, err)
					      : dest_commit_archive(&dest->part, entry, err);
	return rc < 0 ? error_wrap(err, "%s", dest->spec) : 0;
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
	part_free(&dest->part);
	free(dest->spec);
	free(dest);
}
