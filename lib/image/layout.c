// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/layout.h"

#include <errno.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/image/json.h"

bool media_type_is_index(const char *media_type)
{
	return strcmp(media_type, MEDIA_TYPE_OCI_INDEX) == 0 ||
	       strcmp(media_type, MEDIA_TYPE_DOCKER_LIST) == 0;
}

bool media_type_is_manifest(const char *media_type)
{
	return strcmp(media_type, MEDIA_TYPE_OCI_MANIFEST) == 0 ||
	       strcmp(media_type, MEDIA_TYPE_DOCKER_MANIFEST) == 0;
}

/* Printable, without spaces: messages quote it. */
static bool is_media_type(const char *s)
{
	if (!*s || strlen(s) > 255)
		return false;
	for (; *s; s++)
		if (*s <= ' ' || *s > '~')
			return false;
	return true;
}

int descriptor_parse(struct descriptor *d, const json_t *json, struct error **err)
{
	const char *digest;

	*d = (struct descriptor){ 0 };
	if (!json_is_object(json))
		return error_set(err, 0, "the descriptor is not an object");
	if (member_string(json, "mediaType", &d->media_type, err) < 0 ||
		member_string(json, "digest", &digest, err) < 0)
		return error_wrap(err, "descriptor");
	if (!d->media_type || !is_media_type(d->media_type))
		return error_set(err, 0, "descriptor: \"mediaType\" is %s",
			d->media_type ? "not a media type" : "missing");
	if (!digest)
		return error_set(err, 0, "descriptor: \"digest\" is missing");
	if (digest_parse(&d->digest, digest, err) < 0 ||
		member_size(json, "size", &d->size, err) < 0 ||
		member_string_map(json, "annotations", &d->annotations, err) < 0)
		return error_wrap(err, "descriptor");
	return 0;
}

const char *descriptor_annotation(const json_t *descriptor, const char *key)
{
	const json_t *v = json_object_get(json_object_get(descriptor, "annotations"), key);
	const char *s = json_string_value(v);

	return s && strlen(s) == json_string_length(v) ? s : NULL;
}

static json_t *read_json_file(const struct bundle *where, const char *name, struct error **err)
{
	CLEANUP_FREE char *bytes = NULL;
	size_t size = 0;
	json_t *object;

	bytes = bundle_read(where, name, INDEX_MAX_BYTES, &size, err);
	if (!bytes)
		return NULL;
	object = object_parse(bytes, size, err);
	if (!object) {
		CLEANUP_FREE char *path = bundle_name(where, name);

		error_wrap(err, "%s", path);
	}
	return object;
}

static void hint_no_layout(const struct bundle *where, struct error **err)
{
	CLEANUP_ERROR struct error *ignored = NULL;

	if (where->dir)
		error_hint(err, "is %s the directory of an OCI image layout?", where->dir);
	else if (tar_index_find(&where->archive->index, "manifest.json", &ignored))
		error_hint(err, "`docker save` made it: name it docker-archive:FILE[:REF]");
	else
		error_hint(err, "is it the archive of an OCI image layout?");
}

int layout_check(const struct bundle *where, struct error **err)
{
	json_auto_t *object = read_json_file(where, LAYOUT_FILE, err);
	CLEANUP_FREE char *path = bundle_name(where, LAYOUT_FILE);
	const char *version;

	if (!object) {
		if ((*err)->code == ENOENT || (*err)->code == ENOTDIR)
			hint_no_layout(where, err);
		return -1;
	}
	if (member_string(object, "imageLayoutVersion", &version, err) < 0)
		return error_wrap(err, "%s", path);
	if (!version || strcmp(version, "1.0.0") != 0)
		return error_set(
			err, 0, "%s: imageLayoutVersion is not 1.0.0, the only one known", path);
	return 0;
}

json_t *layout_read_index(const struct bundle *where, struct error **err)
{
	json_auto_t *index = read_json_file(where, INDEX_FILE, err);
	CLEANUP_FREE char *path = bundle_name(where, INDEX_FILE);
	json_t *manifests, *entry;
	size_t i;

	if (!index)
		return NULL;
	if (member_array(index, "manifests", &manifests, err) < 0) {
		error_wrap(err, "%s", path);
		return NULL;
	}
	if (!manifests)
		json_object_set_new(index, "manifests", json_array());
	json_array_foreach(manifests, i, entry)
	{
		if (json_is_object(entry))
			continue;
		error_set(err, 0, "%s: manifests[%zu] is not an object", path, i);
		return NULL;
	}
	return json_incref(index);
}

char *layout_blob_dir(const char *dir, enum digest_algo algo)
{
	return xasprintf("%s/blobs/%s", dir, algo == DIGEST_SHA512 ? "sha512" : "sha256");
}

char *layout_blob_path(const char *dir, const struct digest *d)
{
	CLEANUP_FREE char *blobs = layout_blob_dir(dir, d->algo);
	char hex[DIGEST_MAX_STR];

	return xasprintf("%s/%s", blobs, digest_hex(d, hex));
}

static char *blob_name(const struct digest *d)
{
	char hex[DIGEST_MAX_STR];

	return xasprintf(
		"blobs/%s/%s", d->algo == DIGEST_SHA512 ? "sha512" : "sha256", digest_hex(d, hex));
}

#define COPY_AGAIN "copy the image into it again"

int layout_find_blob(const struct bundle *where, const struct digest *d, struct file_range *r,
	struct error **err)
{
	CLEANUP_FREE char *name = blob_name(d);

	if (bundle_open(where, name, r, err) == 0)
		return 0;
	if ((*err)->code == ENOENT)
		error_hint(err, "the layout is incomplete; " COPY_AGAIN);
	return -1;
}

int layout_open_blob(const struct bundle *where, const struct digest *d, uint64_t size,
	struct file_range *r, struct error **err)
{
	if (layout_find_blob(where, d, r, err) < 0)
		return -1;
	if (r->size != size) {
		CLEANUP_FREE char *name = blob_name(d);
		CLEANUP_FREE char *path = bundle_name(where, name);

		error_set(err, 0, "%s has %llu bytes, but its descriptor says %llu", path,
			(unsigned long long)r->size, (unsigned long long)size);
		error_hint(err, "the layout is damaged; " COPY_AGAIN);
		close(r->fd);
		*r = FILE_RANGE_NONE;
		return -1;
	}
	return 0;
}

char *layout_read_bytes(const struct bundle *where, const struct descriptor *d, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;
	CLEANUP_FREE char *name = blob_name(&d->digest);
	CLEANUP_FREE char *path = bundle_name(where, name);
	CLEANUP_FREE char *bytes = NULL;
	struct digest found;

	if (d->size > MANIFEST_MAX_BYTES) {
		error_set(err, 0, "it has %llu bytes, more than the %u allowed",
			(unsigned long long)d->size, MANIFEST_MAX_BYTES);
		return NULL;
	}
	if (layout_open_blob(where, &d->digest, d->size, &r, err) < 0)
		return NULL;
	bytes = xzalloc(d->size + 1);
	if (file_range_read(&r, bytes, path, err) < 0)
		return NULL;
	digest_of(&found, d->digest.algo, bytes, d->size);
	if (!digest_equal(&found, &d->digest)) {
		error_set(err, 0, "the bytes of %s do not have that digest", path);
		error_hint(err, "the layout is damaged; " COPY_AGAIN);
		return NULL;
	}
	return take_ptr(bytes);
}

json_t *layout_read_object(const struct bundle *where, const struct descriptor *d, const char *what,
	struct error **err)
{
	CLEANUP_FREE char *bytes = layout_read_bytes(where, d, err);
	json_t *object = bytes ? object_parse(bytes, d->size, err) : NULL;
	char digest[DIGEST_MAX_STR];

	if (!object)
		error_wrap(err, "%s %s", what, digest_format(&d->digest, digest));
	return object;
}
