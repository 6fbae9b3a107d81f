// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Into image layouts. A new one is filled beside its place and renamed there; into an existing
 * directory the blobs are linked first, under its lock and a journal, and index.json is replaced
 * last. So a reader sees the layout as before or complete.
 */
#include "config.h"

#include <errno.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/image/dest_part.h"
#include "lib/image/hidden_dir.h"
#include "lib/image/journal.h"
#include "lib/image/layout.h"

static int prepare_new(struct dest_part *dest, struct error **err)
{
	struct stat st;

	if (lstat(dest->path, &st) == 0 && S_ISLNK(st.st_mode))
		return error_set(err, 0, "%s is a symbolic link that leads nowhere", dest->path);
	if (!dest->parent)
		return error_set(err, ENOENT, "cannot make the directory %s", dest->path);
	if (dest_check_parent(dest, err) < 0)
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
static int prepare_existing(struct dest_part *dest, struct error **err)
{
	CLEANUP_FD int lock = layout_lock(dest->path, err);
	bool empty;

	if (lock < 0 || dest_check_writable(dest->path, err) < 0)
		return -1;
	journal_recover(dest->path);
	layout_sweep(dest->path);
	if (layout_examine(dest->path, &empty, err) < 0)
		return -1;
	if (!empty) {
		json_auto_t *index = layout_read_index(BUNDLE_DIR(dest->path), err);

		if (!index)
			return -1;
	}
	dest->blob_dir = choose_blob_dir(dest->path);
	return 0;
}

/* Under the lock everything is looked at again: since open others may have been here. */
static int commit_into(struct dest_part *dest, json_t *entry, struct error **err)
{
	CLEANUP_FD int lock = layout_lock(dest->path, err);
	json_auto_t *index = NULL;
	bool empty;

	if (lock < 0)
		return -1;
	journal_recover(dest->path);
	if (layout_examine(dest->path, &empty, err) < 0)
		return -1;
	index = empty ? layout_new_index() : layout_read_index(BUNDLE_DIR(dest->path), err);
	if (!index)
		return -1;
	layout_index_put(index, entry, dest->tag);
	return layout_add(dest->path, empty, dest->blobs, dest->n, index, err);
}

static int commit_new(struct dest_part *dest, json_t *entry, struct error **err)
{
	CLEANUP_HIDDEN_DIR struct hidden_dir hidden = HIDDEN_DIR_NONE;
	json_auto_t *index = layout_new_index();
	int code, rc, made = -1;

	if (hidden_dir_make(&hidden, dest->parent, dest->name, err) < 0)
		return -1;
	layout_index_put(index, entry, dest->tag);
	if (layout_fill(hidden.path, dest->blobs, dest->n, index, err) < 0)
		return -1;
	code = hidden_dir_rename(&hidden, dest->path);
	if (code == 0)
		return 0;
	if (code == EINVAL && (made = mkdir(dest->path, 0777)) < 0)
		code = errno;
	if (code != EINVAL && code != EEXIST && code != ENOTEMPTY)
		return error_set(err, code, "cannot make the directory %s", dest->path);
	/* Someone else was first, or a plain mkdir had to do: the blobs move over. */
	rc = commit_into(dest, entry, err);
	if (rc < 0 && made == 0)
		rmdir(dest->path);
	return rc;
}

int dest_prepare_layout(struct dest_part *dest, struct error **err)
{
	struct stat st;

	if (dest->parent)
		hidden_dir_sweep(dest->parent, dest->name);
	if (stat(dest->path, &st) == 0)
		return S_ISDIR(st.st_mode) ? prepare_existing(dest, err)
					   : error_set(err, 0, "%s is not a directory", dest->path);
	if (errno != ENOENT)
		return error_set(err, errno, "cannot open %s", dest->path);
	return prepare_new(dest, err);
}

int dest_commit_layout(struct dest_part *dest, json_t *entry, struct error **err)
{
	struct stat st;

	if (dest->parent && lstat(dest->path, &st) < 0 && errno == ENOENT)
		return commit_new(dest, entry, err);
	return commit_into(dest, entry, err);
}
