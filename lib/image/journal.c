// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/outfile.h"
#include "lib/image/layout.h"

/*
 * One line each: the title, "fresh" if so, and a digest for each blob. It appears by rename,
 * so there is never half of one.
 */
#define TITLE	  "erofs-convert journal 1"
#define MAX_DEPTH 8

int journal_write(
	const char *dir, bool fresh, const struct digest *blobs, size_t n, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *out = outfile_new(dir, err);
	CLEANUP_FREE char *text = NULL;
	char digest[DIGEST_MAX_STR];
	size_t len = 0;
	FILE *f;

	if (!out)
		return -1;
	f = open_memstream(&text, &len);
	if (!f)
		return error_set(err, errno, "cannot write the journal of %s", dir);
	fprintf(f, TITLE "\n%s", fresh ? "fresh\n" : "");
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%s\n", digest_format(&blobs[i], digest));
	fclose(f);
	if (outfile_pwrite(out, text, len, 0, err) < 0)
		return -1;
	return outfile_publish(out, dir, JOURNAL_FILE, true, err);
}

static void remove_file(const char *dir, const char *name)
{
	CLEANUP_FREE char *path = xasprintf("%s/%s", dir, name);

	unlink(path);
}

void journal_remove(const char *dir)
{
	remove_file(dir, JOURNAL_FILE);
}

struct journal {
	bool fresh;
	struct digest *blobs;
	size_t n, cap;
};

static int read_lines(struct journal *j, FILE *f)
{
	CLEANUP_ERROR struct error *why = NULL;
	char line[DIGEST_MAX_STR + 1];
	bool first = true;

	while (fgets(line, sizeof(line), f)) {
		size_t n = strcspn(line, "\n");

		if (line[n] != '\n')
			return -1;
		line[n] = '\0';
		if (first && strcmp(line, TITLE) != 0)
			return -1;
		if (!first && strcmp(line, "fresh") == 0) {
			j->fresh = true;
		} else if (!first) {
			j->blobs = xgrow(j->blobs, j->n, &j->cap, sizeof(*j->blobs));
			if (digest_parse(&j->blobs[j->n++], line, &why) < 0)
				return -1;
		}
		first = false;
	}
	return ferror(f) ? -1 : 0;
}

/* Everything that the layout refers to: digests as members of `referenced`. */
struct walk {
	const char *dir;
	json_t *referenced;
	json_t *visited;
};

static void collect(json_t *referenced, const json_t *v)
{
	const char *key;
	json_t *item;
	size_t i;

	json_array_foreach(v, i, item) collect(referenced, item);
	json_object_foreach((json_t *)v, key, item)
	{
		if (strcmp(key, "digest") == 0 && json_is_string(item))
			json_object_set_new(referenced, json_string_value(item), json_true());
		collect(referenced, item);
	}
}

static int walk_list(struct walk *w, const json_t *manifests, int depth, struct error **err);

/*
 * An index or manifest must be readable, or nothing is known. What has another type may be a
 * document that refers to blobs too, and if it cannot be read as one, it refers to none.
 */
static int walk_entry(struct walk *w, const json_t *entry, int depth, struct error **err)
{
	CLEANUP_ERROR struct error *no_document = NULL;
	json_auto_t *object = NULL;
	struct descriptor d;
	bool is_index, is_known;
	char digest[DIGEST_MAX_STR];

	if (descriptor_parse(&d, entry, err) < 0)
		return -1;
	digest_format(&d.digest, digest);
	if (json_object_get(w->visited, digest))
		return 0;
	json_object_set_new(w->visited, digest, json_true());
	is_index = media_type_is_index(d.media_type);
	is_known = is_index || media_type_is_manifest(d.media_type);
	object = layout_read_object(
		BUNDLE_DIR(w->dir), &d, "manifest", is_known ? err : &no_document);
	if (!object)
		return is_known ? -1 : 0;
	collect(w->referenced, object);
	return is_index ? walk_list(w, json_object_get(object, "manifests"), depth + 1, err) : 0;
}

static int walk_list(struct walk *w, const json_t *manifests, int depth, struct error **err)
{
	json_t *entry;
	size_t i;

	if (depth > MAX_DEPTH)
		return error_set(err, 0, "indexes are nested more than %d deep", MAX_DEPTH);
	collect(w->referenced, manifests);
	json_array_foreach(manifests, i, entry) if (walk_entry(w, entry, depth, err) < 0) return -1;
	return 0;
}

static bool has_index(const char *dir)
{
	CLEANUP_FREE char *path = xasprintf("%s/" INDEX_FILE, dir);
	struct stat st;

	return lstat(path, &st) == 0 || errno != ENOENT;
}

/* A new object of what is referred to, or NULL when that cannot be known. */
static json_t *find_referenced(const struct journal *j, const char *dir)
{
	CLEANUP_ERROR struct error *why = NULL;
	json_auto_t *referenced = json_object(), *visited = json_object(), *index = NULL;
	struct walk w = { dir, referenced, visited };

	if (j->fresh && !has_index(dir))
		return json_incref(referenced);
	index = layout_read_index(BUNDLE_DIR(dir), &why);
	if (index && walk_list(&w, json_object_get(index, "manifests"), 0, &why) == 0)
		return json_incref(referenced);
	log_debug("%s: blobs of an interrupted run stay: %s", dir, why->msg);
	return NULL;
}

static void remove_blobs(const struct journal *j, const char *dir, const json_t *referenced)
{
	char digest[DIGEST_MAX_STR];

	for (size_t i = 0; i < j->n; i++) {
		CLEANUP_FREE char *path = layout_blob_path(dir, &j->blobs[i]);

		if (!json_object_get(referenced, digest_format(&j->blobs[i], digest)))
			unlink(path);
	}
}

/* Back to the empty directory; what others put there in the meantime stays. */
static void remove_frame(const char *dir)
{
	CLEANUP_FREE char *sha256 = layout_blob_dir(dir, DIGEST_SHA256);
	CLEANUP_FREE char *sha512 = layout_blob_dir(dir, DIGEST_SHA512);
	CLEANUP_FREE char *blobs = xasprintf("%s/blobs", dir);

	rmdir(sha256);
	rmdir(sha512);
	if (rmdir(blobs) == 0 || errno == ENOENT)
		remove_file(dir, LAYOUT_FILE);
}

void journal_recover(const char *dir)
{
	CLEANUP_FREE char *path = xasprintf("%s/" JOURNAL_FILE, dir);
	CLEANUP_FCLOSE FILE *f = NULL;
	struct journal j = { 0 };
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return;
	f = fdopen(fd, "r");
	if (f && read_lines(&j, f) == 0) {
		json_auto_t *referenced = find_referenced(&j, dir);

		if (referenced)
			remove_blobs(&j, dir, referenced);
		if (referenced && j.fresh && !has_index(dir))
			remove_frame(dir);
	}
	free(j.blobs);
	unlink(path);
}
