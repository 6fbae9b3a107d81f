// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/layout_write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/image/journal.h"
#include "lib/image/json.h"
#include "lib/image/layout.h"

static bool is_same_dir(int fd, const char *dir)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(dir, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* While we waited, the directory may have been replaced by another of its name. */
int layout_lock(const char *dir, struct error **err)
{
	for (int tries = 0; tries < 100; tries++) {
		CLEANUP_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		int rc;

		if (fd < 0)
			return error_set(err, errno, "cannot open %s", dir);
		rc = flock(fd, LOCK_EX | LOCK_NB);
		if (rc < 0 && errno == EWOULDBLOCK)
			log_debug("waiting for another process to finish with %s", dir);
		while (rc < 0 && (errno == EWOULDBLOCK || errno == EINTR))
			rc = flock(fd, LOCK_EX);
		if (rc < 0) /* NFS, for one, locks no directories */
			log_warn("%s cannot be locked (%s): let only one process write to it", dir,
				strerror(errno));
		if (rc < 0 || is_same_dir(fd, dir))
			return take_fd(&fd);
	}
	return error_set(err, 0, "%s is replaced again and again by other processes", dir);
}

void layout_sweep(const char *dir)
{
	CLEANUP_FREE char *sha256 = layout_blob_dir(dir, DIGEST_SHA256);
	CLEANUP_FREE char *sha512 = layout_blob_dir(dir, DIGEST_SHA512);

	outfile_sweep(dir);
	outfile_sweep(sha256);
	outfile_sweep(sha512);
}

static int is_empty(const char *dir, bool *empty, struct error **err)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	if (!d)
		return error_set(err, errno, "cannot read %s", dir);
	*empty = true;
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
			!outfile_is_hidden_name(e->d_name)) /* of a process that is at work */
			*empty = false;
	closedir(d);
	return 0;
}

int layout_examine(const char *dir, bool *empty, struct error **err)
{
	CLEANUP_FREE char *path = xasprintf("%s/" LAYOUT_FILE, dir);
	struct stat st;

	if (is_empty(dir, empty, err) < 0)
		return -1;
	if (*empty)
		return 0;
	if (stat(path, &st) == 0 || errno != ENOENT)
		return layout_check(BUNDLE_DIR(dir), err);
	error_set(err, 0, "the directory %s is not empty, and no image layout", dir);
	return error_hint(err, "name a new directory, an empty one, or an existing layout");
}

json_t *layout_new_index(void)
{
	return json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType", MEDIA_TYPE_OCI_INDEX,
		"manifests");
}

static const char *tag_of(const json_t *entry)
{
	const char *tag = descriptor_annotation(entry, ANNOTATION_REF_NAME);

	return tag && *tag ? tag : NULL;
}

static bool replace_tag(json_t *manifests, json_t *entry, const char *tag)
{
	bool replaced = false;

	for (size_t i = 0; i < json_array_size(manifests); i++) {
		const char *old = tag_of(json_array_get(manifests, i));

		if (!old || strcmp(old, tag) != 0)
			continue;
		if (replaced)
			json_array_remove(manifests, i--); /* a tag names one image */
		else
			json_array_set(manifests, i, entry);
		replaced = true;
	}
	return replaced;
}

void layout_index_put(json_t *index, json_t *entry, const char *tag)
{
	json_t *manifests = json_object_get(index, "manifests");
	const json_t *digest = json_object_get(entry, "digest");

	if (tag && replace_tag(manifests, entry, tag))
		return;
	for (size_t i = 0; i < json_array_size(manifests); i++) {
		const json_t *old = json_array_get(manifests, i);

		if (tag_of(old) || !json_equal(json_object_get(old, "digest"), digest))
			continue;
		json_array_set(manifests, i, entry);
		return;
	}
	json_array_append(manifests, entry);
}

static int make_dir(const char *path, struct error **err)
{
	if (mkdir(path, 0777) < 0 && errno != EEXIST) {
		error_set(err, errno, "cannot make the directory %s", path);
		if ((*err)->code == ENOSPC || (*err)->code == EDQUOT)
			error_hint(err, "free space there, or write elsewhere");
		return -1;
	}
	return 0;
}

static int make_blob_dirs(
	const char *dir, const struct layout_blob *blobs, size_t n, struct error **err)
{
	CLEANUP_FREE char *top = xasprintf("%s/blobs", dir);

	if (make_dir(top, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *path = layout_blob_dir(dir, blobs[i].digest.algo);

		if (make_dir(path, err) < 0)
			return -1;
	}
	return 0;
}

/* A blob of the wrong size is a damaged one, and replaced. */
static bool has_blob(const char *dir, const struct layout_blob *b)
{
	CLEANUP_FREE char *path = layout_blob_path(dir, &b->digest);
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == b->size;
}

static int put_blob(const char *dir, struct layout_blob *b, struct error **err)
{
	CLEANUP_FREE char *blob_dir = layout_blob_dir(dir, b->digest.algo);
	CLEANUP_FREE char *path = layout_blob_path(dir, &b->digest);
	char hex[DIGEST_MAX_STR];
	struct stat st;

	if (b->staged) {
		if (rename(b->staged, path) < 0)
			return error_set(err, errno, "cannot move a blob to %s", path);
		return 0;
	}
	/* Its name promises its bytes, also after a power failure. */
	if (fdatasync(outfile_fd(b->file)) < 0)
		return error_set(err, errno, "cannot write the blob %s", path);
	return outfile_publish(
		b->file, blob_dir, digest_hex(&b->digest, hex), lstat(path, &st) == 0, err);
}

static int put_text(
	const char *dir, const char *name, const char *text, size_t len, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *out = outfile_new(dir, err);

	if (!out || outfile_pwrite(out, text, len, 0, err) < 0)
		return -1;
	return outfile_publish(out, dir, name, true, err);
}

static int put_index(const char *dir, const json_t *index, struct error **err)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;

	text = object_format(index, &len);
	if (len > INDEX_MAX_BYTES)
		return error_set(err, 0,
			"%s/" INDEX_FILE " would have %zu bytes, more than the %u "
			"allowed",
			dir, len, INDEX_MAX_BYTES);
	return put_text(dir, INDEX_FILE, text, len, err);
}

int layout_fill(const char *dir, struct layout_blob *blobs, size_t n, const json_t *index,
	struct error **err)
{
	if (make_blob_dirs(dir, blobs, n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (put_blob(dir, &blobs[i], err) < 0)
			return -1;
		blobs[i].staged = layout_blob_path(dir, &blobs[i].digest);
	}
	if (put_text(dir, LAYOUT_FILE, LAYOUT_VERSION, strlen(LAYOUT_VERSION), err) < 0)
		return -1;
	return put_index(dir, index, err);
}

static int add_missing(const char *dir, bool fresh, struct layout_blob *blobs, size_t n,
	const json_t *index, struct error **err)
{
	if (make_blob_dirs(dir, blobs, n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (!has_blob(dir, &blobs[i]) && put_blob(dir, &blobs[i], err) < 0)
			return -1;
	if (fresh && put_text(dir, LAYOUT_FILE, LAYOUT_VERSION, strlen(LAYOUT_VERSION), err) < 0)
		return -1;
	return put_index(dir, index, err);
}

/* The journal names what was not there before; a damaged blob that is replaced was there. */
static int begin(
	const char *dir, bool fresh, const struct layout_blob *blobs, size_t n, struct error **err)
{
	CLEANUP_FREE struct digest *added = xcalloc(n, sizeof(*added));
	size_t n_added = 0;

	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *path = layout_blob_path(dir, &blobs[i].digest);
		struct stat st;

		if (lstat(path, &st) < 0)
			added[n_added++] = blobs[i].digest;
	}
	return n_added || fresh ? journal_write(dir, fresh, added, n_added, err) : 0;
}

int layout_add(const char *dir, bool fresh, struct layout_blob *blobs, size_t n,
	const json_t *index, struct error **err)
{
	if (begin(dir, fresh, blobs, n, err) < 0)
		return -1;
	if (add_missing(dir, fresh, blobs, n, index, err) < 0) {
		journal_recover(dir);
		return -1;
	}
	journal_remove(dir);
	return 0;
}
