// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Blobs are written without a name. At commit a new layout is filled beside its place and
 * renamed there; into an existing directory the blobs are linked first, under its lock and a
 * journal, and index.json is replaced last. So a reader sees the layout as before or complete.
 */
#include "config.h"

#include "lib/image/dest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/image/hidden_dir.h"
#include "lib/image/journal.h"
#include "lib/image/layout.h"
#include "lib/image/layout_write.h"

struct image_dest {
	char *spec;
	char *dir; /* without slashes at its end */
	char *parent; /* of dir, and dir's name there; NULL where that is unknown ("..") */
	char *name;
	char *tag;
	char *blob_dir; /* where unnamed blobs can be made, on the right filesystem */
	struct layout_blob *blobs;
	size_t n, cap;
};

static void split_path(struct image_dest *dest, const char *path)
{
	size_t n = strlen(path);
	const char *slash;

	while (n > 1 && path[n - 1] == '/')
		n--;
	dest->dir = xstrndup(path, n);
	slash = strrchr(dest->dir, '/');
	dest->name = xstrdup(slash ? slash + 1 : dest->dir);
	if (!*dest->name || strcmp(dest->name, ".") == 0 || strcmp(dest->name, "..") == 0)
		return;
	if (!slash)
		dest->parent = xstrdup(".");
	else
		dest->parent = slash == dest->dir
				       ? xstrdup("/")
				       : xstrndup(dest->dir, (size_t)(slash - dest->dir));
}

static int check_writable(const char *dir, struct error **err)
{
	if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) < 0)
		return error_set(err, errno, "cannot write to the directory %s", dir);
	return 0;
}

static int prepare_new(struct image_dest *dest, struct error **err)
{
	struct stat st;

	if (lstat(dest->dir, &st) == 0 && S_ISLNK(st.st_mode))
		return error_set(err, 0, "%s is a symbolic link that leads nowhere", dest->dir);
	if (!dest->parent)
		return error_set(err, ENOENT, "cannot make the directory %s", dest->dir);
	if (stat(dest->parent, &st) < 0) {
		error_set(
			err, errno, "cannot make %s in the directory %s", dest->name, dest->parent);
		return error_hint(err, "make that first: mkdir -p %s", dest->parent);
	}
	if (!S_ISDIR(st.st_mode))
		return error_set(err, 0, "%s is not a directory", dest->parent);
	if (check_writable(dest->parent, err) < 0)
		return -1;
	dest->blob_dir = xstrdup(dest->parent);
	return 0;
}

/* Blobs may be a link to a pool elsewhere; a link cannot be made from another filesystem. */
static char *choose_blob_dir(const char *dir)
{
	CLEANUP_FREE char *blobs = layout_blob_dir(dir, DIGEST_SHA256);
	struct stat a, b;

	if (stat(dir, &a) == 0 && stat(blobs, &b) == 0 && a.st_dev != b.st_dev)
		return take_ptr(blobs);
	return xstrdup(dir);
}

/* Under the lock, so that another's commit is never seen half done. */
static int prepare_existing(struct image_dest *dest, struct error **err)
{
	CLEANUP_FD int lock = layout_lock(dest->dir, err);
	bool empty;

	if (lock < 0 || check_writable(dest->dir, err) < 0)
		return -1;
	journal_recover(dest->dir);
	layout_sweep(dest->dir);
	if (layout_examine(dest->dir, &empty, err) < 0)
		return -1;
	if (!empty) {
		json_auto_t *index = layout_read_index(dest->dir, err);

		if (!index)
			return -1;
	}
	dest->blob_dir = choose_blob_dir(dest->dir);
	return 0;
}

static int prepare(struct image_dest *dest, struct error **err)
{
	struct stat st;

	if (dest->tag && !image_ref_tag_is_valid(dest->tag)) {
		error_set(err, 0, "\"%s\" is not a valid tag for an image layout", dest->tag);
		return error_hint(
			err, "letters and digits, with one of - . _ : @ + / between them");
	}
	if (dest->parent) {
		outfile_sweep(dest->parent);
		hidden_dir_sweep(dest->parent, dest->name);
	}
	if (stat(dest->dir, &st) == 0)
		return S_ISDIR(st.st_mode) ? prepare_existing(dest, err)
					   : error_set(err, 0, "%s is not a directory", dest->dir);
	if (errno != ENOENT)
		return error_set(err, errno, "cannot open %s", dest->dir);
	return prepare_new(dest, err);
}

struct image_dest *image_dest_open(const struct image_ref *ref, struct error **err)
{
	CLEANUP_IMAGE_DEST struct image_dest *dest = xzalloc(sizeof(*dest));

	if (ref->transport != TRANSPORT_OCI) {
		error_set(err, 0, "%s: tar: can only be read from", ref->spec);
		error_hint(err, "write to an image layout: oci:DIR[:TAG]");
		return NULL;
	}
	dest->spec = xstrdup(ref->spec);
	dest->tag = ref->tag ? xstrdup(ref->tag) : NULL;
	split_path(dest, ref->path);
	if (prepare(dest, err) == 0)
		return take_ptr(dest);
	error_wrap(err, "%s", ref->spec);
	return NULL;
}

struct outfile *image_dest_new_blob(struct image_dest *dest, struct error **err)
{
	return outfile_new(dest->blob_dir, err);
}

int image_dest_add_blob(struct image_dest *dest, struct outfile *blob, const struct digest *digest,
	uint64_t size, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *file = blob;
	char text[DIGEST_MAX_STR];
	struct stat st;

	if (fstat(outfile_fd(file), &st) < 0)
		return error_set(err, errno, "%s: cannot read a blob's size", dest->spec);
	if ((uint64_t)st.st_size != size)
		return error_set(err, 0, "%s: blob %s has %llu bytes where %llu were written",
			dest->spec, digest_format(digest, text), (unsigned long long)st.st_size,
			(unsigned long long)size);
	for (size_t i = 0; i < dest->n; i++)
		if (digest_equal(&dest->blobs[i].digest, digest))
			return 0;
	/* Towards the disk in the background, so that commit need not wait for all of it. */
	sync_file_range(outfile_fd(file), 0, 0, SYNC_FILE_RANGE_WRITE);
	dest->blobs = xgrow(dest->blobs, dest->n, &dest->cap, sizeof(*dest->blobs));
	dest->blobs[dest->n++] =
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

	if (dest->tag)
		json_object_set_new(
			entry, "annotations", json_pack("{s:s}", ANNOTATION_REF_NAME, dest->tag));
	if (platform)
		json_object_set(entry, "platform", platform);
	return entry;
}

/* Under the lock everything is looked at again: since open others may have been here. */
static int commit_into(struct image_dest *dest, json_t *entry, struct error **err)
{
	CLEANUP_FD int lock = layout_lock(dest->dir, err);
	json_auto_t *index = NULL;
	bool empty;

	if (lock < 0)
		return -1;
	journal_recover(dest->dir);
	if (layout_examine(dest->dir, &empty, err) < 0)
		return -1;
	index = empty ? layout_new_index() : layout_read_index(dest->dir, err);
	if (!index)
		return -1;
	layout_index_put(index, entry, dest->tag);
	return layout_add(dest->dir, empty, dest->blobs, dest->n, index, err);
}

static int commit_new(struct image_dest *dest, json_t *entry, struct error **err)
{
	CLEANUP_HIDDEN_DIR struct hidden_dir hidden = HIDDEN_DIR_NONE;
	json_auto_t *index = layout_new_index();
	int code, rc, made = -1;

	if (hidden_dir_make(&hidden, dest->parent, dest->name, err) < 0)
		return -1;
	layout_index_put(index, entry, dest->tag);
	if (layout_fill(hidden.path, dest->blobs, dest->n, index, err) < 0)
		return -1;
	code = hidden_dir_rename(&hidden, dest->dir);
	if (code == 0)
		return 0;
	if (code == EINVAL && (made = mkdir(dest->dir, 0777)) < 0)
		code = errno;
	if (code != EINVAL && code != EEXIST && code != ENOTEMPTY)
		return error_set(err, code, "cannot make the directory %s", dest->dir);
	/* Someone else was first, or a plain mkdir had to do: the blobs move over. */
	rc = commit_into(dest, entry, err);
	if (rc < 0 && made == 0)
		rmdir(dest->dir);
	return rc;
}

int image_dest_commit(struct image_dest *dest, const void *manifest, size_t manifest_size,
	const char *media_type, json_t *platform, struct digest *manifest_digest,
	struct error **err)
{
	json_auto_t *entry = NULL;
	struct stat st;
	int rc;

	if (add_manifest(dest, manifest, manifest_size, manifest_digest, err) < 0)
		return error_wrap(err, "%s", dest->spec);
	entry = new_entry(dest, manifest_digest, manifest_size, media_type, platform);
	if (dest->parent && lstat(dest->dir, &st) < 0 && errno == ENOENT)
		rc = commit_new(dest, entry, err);
	else
		rc = commit_into(dest, entry, err);
	return rc < 0 ? error_wrap(err, "%s", dest->spec) : 0;
}

void image_dest_free(struct image_dest *dest)
{
	if (!dest)
		return;
	for (size_t i = 0; i < dest->n; i++) {
		outfile_free(dest->blobs[i].file);
		free(dest->blobs[i].staged);
	}
	free(dest->blobs);
	free(dest->spec);
	free(dest->dir);
	free(dest->parent);
	free(dest->name);
	free(dest->tag);
	free(dest->blob_dir);
	free(dest);
}
