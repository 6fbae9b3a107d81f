// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

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

/*
 * Links are followed: layouts may share one pool of blobs that way. Anything but a regular
 * file is refused, without waiting for a writer as open() of a FIFO would.
 */
static int open_regular(const char *path, uint64_t *size, struct error **err)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot open %s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, 0, "%s is not a regular file", path);
	*size = (uint64_t)st.st_size;
	return take_fd(&fd);
}

static int read_whole(int fd, char *p, size_t len, const char *path, struct error **err)
{
	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "cannot read %s", path);
		if (n == 0)
			return error_set(err, 0, "%s became shorter while it was read", path);
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static json_t *read_json_file(const char *dir, const char *name, struct error **err)
{
	CLEANUP_FREE char *path = xasprintf("%s/%s", dir, name);
	CLEANUP_FREE char *bytes = NULL;
	uint64_t size = 0;
	CLEANUP_FD int fd = open_regular(path, &size, err);
	json_t *object;

	if (fd < 0)
		return NULL;
	if (size > INDEX_MAX_BYTES) {
		error_set(err, 0, "%s has %llu bytes, more than the %u allowed", path,
			(unsigned long long)size, INDEX_MAX_BYTES);
		return NULL;
	}
	bytes = xmalloc(size);
	if (read_whole(fd, bytes, size, path, err) < 0)
		return NULL;
	object = object_parse(bytes, size, err);
	if (!object)
		error_wrap(err, "%s", path);
	return object;
}

int layout_check(const char *dir, struct error **err)
{
	json_auto_t *object = read_json_file(dir, LAYOUT_FILE, err);
	const char *version;

	if (!object) {
		if ((*err)->code == ENOENT || (*err)->code == ENOTDIR)
			error_hint(err, "is %s the directory of an OCI image layout?", dir);
		return -1;
	}
	if (member_string(object, "imageLayoutVersion", &version, err) < 0)
		return error_wrap(err, "%s/" LAYOUT_FILE, dir);
	if (!version || strcmp(version, "1.0.0") != 0)
		return error_set(err, 0,
			"%s/" LAYOUT_FILE ": imageLayoutVersion is not 1.0.0, the only one known",
			dir);
	return 0;
}

json_t *layout_read_index(const char *dir, struct error **err)
{
	json_auto_t *index = read_json_file(dir, INDEX_FILE, err);
	json_t *manifests, *entry;
	size_t i;

	if (!index)
		return NULL;
	if (member_array(index, "manifests", &manifests, err) < 0) {
		error_wrap(err, "%s/" INDEX_FILE, dir);
		return NULL;
	}
	if (!manifests)
		json_object_set_new(index, "manifests", json_array());
	json_array_foreach(manifests, i, entry)
	{
		if (json_is_object(entry))
			continue;
		error_set(err, 0, "%s/" INDEX_FILE ": manifests[%zu] is not an object", dir, i);
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

int layout_open_blob(const char *dir, const struct digest *d, uint64_t size, struct error **err)
{
	CLEANUP_FREE char *path = layout_blob_path(dir, d);
	uint64_t found = 0;
	CLEANUP_FD int fd = open_regular(path, &found, err);

	if (fd < 0) {
		if ((*err)->code == ENOENT)
			error_hint(err, "the layout is incomplete; copy the image into it again");
		return -1;
	}
	if (found != size) {
		error_set(err, 0, "%s has %llu bytes, but its descriptor says %llu", path,
			(unsigned long long)found, (unsigned long long)size);
		return error_hint(err, "the layout is damaged; copy the image into it again");
	}
	return take_fd(&fd);
}

static json_t *read_object(const char *dir, const struct descriptor *d, struct error **err)
{
	CLEANUP_FREE char *path = layout_blob_path(dir, &d->digest);
	CLEANUP_FREE char *bytes = NULL;
	CLEANUP_FD int fd = -1;
	struct digest found;

	if (d->size > MANIFEST_MAX_BYTES) {
		error_set(err, 0, "it has %llu bytes, more than the %u allowed",
			(unsigned long long)d->size, MANIFEST_MAX_BYTES);
		return NULL;
	}
	fd = layout_open_blob(dir, &d->digest, d->size, err);
	if (fd < 0)
		return NULL;
	bytes = xmalloc(d->size);
	if (read_whole(fd, bytes, d->size, path, err) < 0)
		return NULL;
	digest_of(&found, d->digest.algo, bytes, d->size);
	if (!digest_equal(&found, &d->digest)) {
		error_set(err, 0, "the bytes of %s do not have that digest", path);
		error_hint(err, "the layout is damaged; copy the image into it again");
		return NULL;
	}
	return object_parse(bytes, d->size, err);
}

json_t *layout_read_object(
	const char *dir, const struct descriptor *d, const char *what, struct error **err)
{
	char digest[DIGEST_MAX_STR];
	json_t *object = read_object(dir, d, err);

	if (!object)
		error_wrap(err, "%s %s", what, digest_format(&d->digest, digest));
	return object;
}
