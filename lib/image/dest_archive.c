// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Into an oci-archive: one tar, the same bytes for the same image: oci-layout and index.json
 * first, then the blobs by their digests. It is written without a name, from blobs that have
 * none either, and takes the place of an existing file in one step.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fmt/tar_write.h"
#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/image/dest_part.h"
#include "lib/image/json.h"
#include "lib/image/layout.h"

#define COPY_SIZE (1u << 20)

/* The file that a link leads to is replaced, not the link. */
static int follow_link(struct dest_part *dest, struct error **err)
{
	char *real = realpath(dest->path, NULL), *slash;

	if (!real)
		return error_set(
			err, errno, "%s is a symbolic link that leads nowhere", dest->path);
	free(dest->path);
	free(dest->parent);
	free(dest->name);
	dest->path = real;
	slash = strrchr(real, '/');
	dest->name = xstrdup(slash + 1);
	dest->parent = slash == real ? xstrdup("/") : xstrndup(real, (size_t)(slash - real));
	return 0;
}

int dest_prepare_archive(struct dest_part *dest, struct error **err)
{
	struct stat st;

	if (strcmp(dest->path, "-") == 0)
		return error_set(err, 0, "an archive cannot be written to a pipe");
	if (lstat(dest->path, &st) == 0 && S_ISLNK(st.st_mode) && follow_link(dest, err) < 0)
		return -1;
	if (stat(dest->path, &st) == 0 && S_ISDIR(st.st_mode)) {
		error_set(err, 0, "%s is a directory", dest->path);
		return error_hint(err, "an image layout in a directory is oci:DIR[:TAG]");
	}
	if (stat(dest->path, &st) == 0 && !S_ISREG(st.st_mode))
		return error_set(err, 0, "%s is not a regular file", dest->path);
	if (!dest->parent)
		return error_set(err, EISDIR, "cannot write %s", dest->path);
	if (dest_check_parent(dest, err) < 0)
		return -1;
	dest->blob_dir = xstrdup(dest->parent);
	return 0;
}

struct tar_writer {
	struct outfile *out;
	uint64_t at;
	uint8_t *buf;
};

static int put(struct tar_writer *w, const void *p, size_t len, struct error **err)
{
	if (outfile_pwrite(w->out, p, len, w->at, err) < 0)
		return -1;
	w->at += len;
	return 0;
}

static int put_header(
	struct tar_writer *w, const char *name, uint64_t size, bool is_dir, struct error **err)
{
	const struct entry e = {
		.type = is_dir ? ENTRY_DIR : ENTRY_FILE,
		.path = name,
		.link = "",
		.size = size,
		.mode = is_dir ? 0755 : 0644,
	};
	size_t len = tar_head_measure(&e).size;
	CLEANUP_FREE uint8_t *head = xmalloc(len);

	tar_head_encode(head, &e);
	return put(w, head, len, err);
}

static int put_padding(struct tar_writer *w, struct error **err)
{
	static const uint8_t zeros[TAR_WRITE_END];

	return put(w, zeros, tar_padding(w->at), err);
}

static int put_text(
	struct tar_writer *w, const char *name, const char *text, size_t len, struct error **err)
{
	if (put_header(w, name, len, false, err) < 0 || put(w, text, len, err) < 0)
		return -1;
	return put_padding(w, err);
}

static int put_bytes(struct tar_writer *w, const struct layout_blob *b, struct error **err)
{
	for (uint64_t done = 0; done < b->size;) {
		size_t want = b->size - done < COPY_SIZE ? (size_t)(b->size - done) : COPY_SIZE;
		ssize_t n = pread(outfile_fd(b->file), w->buf, want, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, n < 0 ? errno : EIO, "cannot read a blob again");
		if (interrupt_pending())
			return error_set(err, 0, "interrupted; nothing has been written");
		if (put(w, w->buf, (size_t)n, err) < 0)
			return -1;
		done += (uint64_t)n;
	}
	return 0;
}

/* A blob goes when it is in the archive, so that not all is on the disk twice. */
static int put_blob(struct tar_writer *w, struct layout_blob *b, struct error **err)
{
	CLEANUP_FREE char *name = layout_blob_path("", &b->digest);

	if (put_header(w, name + 1, b->size, false, err) < 0 || put_bytes(w, b, err) < 0)
		return -1;
	outfile_free(take_ptr(b->file));
	return put_padding(w, err);
}

static int compare_digests(const void *a, const void *b)
{
	const struct digest *x = &((const struct layout_blob *)a)->digest;
	const struct digest *y = &((const struct layout_blob *)b)->digest;

	if (x->algo != y->algo)
		return (x->algo > y->algo) - (x->algo < y->algo);
	return memcmp(x->bytes, y->bytes, sizeof(x->bytes));
}

static int put_index(struct tar_writer *w, json_t *entry, struct error **err)
{
	json_auto_t *index = layout_new_index();
	CLEANUP_FREE char *text = NULL;
	size_t len;

	layout_index_put(index, entry, NULL);
	text = object_format(index, &len);
	return put_text(w, INDEX_FILE, text, len, err);
}

static int put_all(struct tar_writer *w, struct dest_part *dest, json_t *entry, struct error **err)
{
	static const uint8_t end[TAR_WRITE_END];
	const char *dir = NULL;

	if (put_text(w, LAYOUT_FILE, LAYOUT_VERSION, strlen(LAYOUT_VERSION), err) < 0 ||
		put_index(w, entry, err) < 0 || put_header(w, "blobs/", 0, true, err) < 0)
		return -1;
	qsort(dest->blobs, dest->n, sizeof(*dest->blobs), compare_digests);
	for (size_t i = 0; i < dest->n; i++) {
		bool is_512 = dest->blobs[i].digest.algo == DIGEST_SHA512;
		const char *own = is_512 ? "blobs/sha512/" : "blobs/sha256/";

		if (own != dir && put_header(w, own, 0, true, err) < 0)
			return -1;
		dir = own;
		if (put_blob(w, &dest->blobs[i], err) < 0)
			return -1;
	}
	return put(w, end, sizeof(end), err);
}

int dest_commit_archive(struct dest_part *dest, json_t *entry, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *out = outfile_new(dest->parent, err);
	CLEANUP_FREE uint8_t *buf = xmalloc(COPY_SIZE);
	struct tar_writer w = { .out = out, .buf = buf };

	if (!out || put_all(&w, dest, entry, err) < 0)
		return -1;
	return outfile_publish(out, dest->parent, dest->name, true, err);
}
