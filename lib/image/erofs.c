// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/erofs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "fmt/chunk_index.h"
#include "lib/base/mem.h"
#include "lib/blob/range_map.h"
#include "lib/image/image_config.h"
#include "lib/image/json.h"
#include "lib/image/layer_type.h"
#include "lib/image/layout.h"

#define ROLE_DEVICE "device"

static json_t *new_descriptor(const char *media_type, const struct digest *d, uint64_t size)
{
	char text[DIGEST_MAX_STR];

	return json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest",
		digest_format(d, text), "size", (json_int_t)size);
}

/* What a reader of a compressed layer must know before it reads. */
static void annotate_zstd(json_t *annotations, const struct erofs_layer *l)
{
	CLEANUP_FREE char *range = xasprintf("%" PRIu64 ":%" PRIu64, l->index.offset, l->index.end);
	char text[DIGEST_MAX_STR];

	json_object_set_new(
		annotations, EROFS_UNCOMPRESSED, json_string(digest_format(&l->diff_id, text)));
	json_object_set_new(annotations, EROFS_INDEX_RANGE, json_string(range));
	json_object_set_new(annotations, EROFS_INDEX_DIGEST,
		json_string(digest_format(&l->index.digest, text)));
	json_object_set_new(annotations, EROFS_LIBZSTD, json_string(ZSTD_versionString()));
}

static json_t *new_layer(const struct erofs_layer *l, const char *role)
{
	json_t *d = new_descriptor(
		l->zstd ? EROFS_MEDIA_TYPE_ZSTD : EROFS_MEDIA_TYPE, &l->digest, l->size);
	json_auto_t *annotations = json_object();

	if (role)
		json_object_set_new(annotations, EROFS_ROLE, json_string(role));
	if (l->zstd)
		annotate_zstd(annotations, l);
	if (json_object_size(annotations))
		json_object_set(d, "annotations", annotations);
	return d;
}

/* Devices in device-table order, each marked; the bootstrap last, without a role. */
static json_t *new_layers(const struct erofs_image *image)
{
	json_t *layers = json_array();

	for (size_t i = 0; i < image->n_devices; i++)
		json_array_append_new(layers, new_layer(&image->devices[i], ROLE_DEVICE));
	json_array_append_new(layers, new_layer(&image->bootstrap, NULL));
	return layers;
}

static json_t *new_manifest(const struct erofs_image *image, const struct image_source *src,
	const struct digest *config, size_t config_size, struct error **err)
{
	json_t *manifest, *annotations;

	if (member_string_map(src->manifest, "annotations", &annotations, err) < 0)
		return NULL;
	manifest = json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType",
		MEDIA_TYPE_OCI_MANIFEST, "config",
		new_descriptor(MEDIA_TYPE_OCI_CONFIG, config, config_size), "layers",
		new_layers(image));
	if (image->with_subject)
		json_object_set_new(manifest, "subject",
			new_descriptor(src->manifest_media_type, &src->manifest_digest,
				src->manifest_size));
	if (json_object_size(annotations))
		json_object_set(manifest, "annotations", annotations);
	return manifest;
}

static int add_text(struct image_dest *dest, const char *what, const char *text, size_t size,
	struct digest *digest, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *file = NULL;

	if (size > MANIFEST_MAX_BYTES)
		return error_set(err, 0,
			"the %s would have %zu bytes, more than the %u that registries take", what,
			size, MANIFEST_MAX_BYTES);
	file = image_dest_new_blob(dest, err);
	if (!file || outfile_pwrite(file, text, size, 0, err) < 0)
		return -1;
	digest_of(digest, DIGEST_SHA256, text, size);
	return image_dest_add_blob(dest, take_ptr(file), digest, size, err);
}

static int add_json(struct image_dest *dest, const char *what, const json_t *object,
	struct digest *digest, size_t *size, struct error **err)
{
	CLEANUP_FREE char *text = object_format(object, size);

	return add_text(dest, what, text, *size, digest, err);
}

/* Adds an index; is the sum still what readers take? It never overflows: it stays below that. */
static bool indexes_fit(uint64_t *sum, const struct erofs_index *index)
{
	if (index->end - index->offset > RANGE_MAP_BYTES_MAX - *sum)
		return false;
	*sum += index->end - index->offset;
	return true;
}

static int check_made(const struct erofs_image *image, struct error **err)
{
	uint64_t sum = 0;
	bool fit = indexes_fit(&sum, &image->bootstrap.index);

	for (size_t i = 0; fit && i < image->n_devices; i++)
		fit = indexes_fit(&sum, &image->devices[i].index);
	if (fit)
		return 0;
	error_set(err, 0, "its chunk indexes would have more than %d bytes together",
		RANGE_MAP_BYTES_MAX);
	return error_hint(err, "a larger --frame-size");
}

/* The manifest of the converted config, which is stored. NULL on error. */
static char *make_manifest(const struct erofs_image *image, const struct image_source *src,
	const json_t *config, struct image_dest *dest, size_t *size, struct error **err)
{
	json_auto_t *manifest = NULL;
	struct digest config_digest;

	if (check_made(image, err) < 0) {
		error_wrap(err, "%s", src->ref.spec);
		return NULL;
	}
	if (add_json(dest, "config", config, &config_digest, size, err) < 0)
		return NULL;
	manifest = new_manifest(image, src, &config_digest, *size, err);
	if (manifest)
		return object_format(manifest, size);
	error_wrap(err, "%s", src->ref.spec);
	return NULL;
}

int erofs_image_commit(const struct erofs_image *image, const struct image_source *src,
	struct image_dest *dest, struct digest *manifest_digest, struct error **err)
{
	json_auto_t *config = config_convert(image, src, err), *platform = NULL;
	CLEANUP_FREE char *text = NULL;
	size_t size;

	if (!config)
		return error_wrap(err, "%s", src->ref.spec);
	text = make_manifest(image, src, config, dest, &size, err);
	if (!text)
		return -1;
	platform = config_platform(config);
	return image_dest_commit(
		dest, text, size, MEDIA_TYPE_OCI_MANIFEST, platform, manifest_digest, err);
}

/* A source's index knows its platforms better than the configs do. */
static json_t *platform_of(const struct image_source *src, const json_t *config)
{
	json_t *platform;

	if (!json_object_get(src->platform, "os") ||
		!json_object_get(src->platform, "architecture"))
		return config_platform(config);
	platform = json_deep_copy(src->platform);
	json_object_set(platform, "os.features", json_object_get(config, "os.features"));
	return platform;
}

json_t *erofs_image_add(const struct erofs_image *image, const struct image_source *src,
	struct image_dest *dest, struct error **err)
{
	json_auto_t *config = config_convert(image, src, err);
	CLEANUP_FREE char *text = NULL;
	struct digest digest;
	json_t *descriptor;
	size_t size;

	if (!config) {
		error_wrap(err, "%s", src->ref.spec);
		return NULL;
	}
	text = make_manifest(image, src, config, dest, &size, err);
	if (!text)
		return NULL;
	digest_of(&digest, DIGEST_SHA256, text, size);
	if (image_dest_add_manifest(dest, text, size, MEDIA_TYPE_OCI_MANIFEST, &digest, err) < 0)
		return NULL;
	descriptor = new_descriptor(MEDIA_TYPE_OCI_MANIFEST, &digest, size);
	json_object_set_new(descriptor, "platform", platform_of(src, config));
	return descriptor;
}

int erofs_index_commit(
	json_t *manifests, struct image_dest *dest, struct digest *index_digest, struct error **err)
{
	json_auto_t *index = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType",
		MEDIA_TYPE_OCI_INDEX, "manifests", manifests);
	CLEANUP_FREE char *text = NULL;
	size_t size;

	text = object_format(index, &size);
	return image_dest_commit(dest, text, size, MEDIA_TYPE_OCI_INDEX, NULL, index_digest, err);
}

static const char *role_of(const struct image_layer *l)
{
	const char *role = json_string_value(json_object_get(l->annotations, EROFS_ROLE));

	return role ? role : "";
}

static int check_device(const struct image_layer *l, struct error **err)
{
	if (!layer_type_is_erofs(l->media_type))
		return error_set(err, 0, "%s has the type %s: a device of that type cannot be read",
			l->name, l->media_type);
	if (!*role_of(l))
		return error_set(err, 0,
			"%s can be mounted by itself: an image of several mountable "
			"layers cannot be read yet",
			l->name);
	if (strcmp(role_of(l), ROLE_DEVICE) != 0)
		return error_set(err, 0, "%s has an unknown role (" EROFS_ROLE ")", l->name);
	return 0;
}

static bool is_tar_image(const struct image_source *src)
{
	for (size_t i = 0; i < src->n_layers; i++)
		if (layer_type_is_erofs(src->layers[i].media_type))
			return false;
	return true;
}

static int check_found(const struct image_source *src, struct error **err)
{
	const struct image_layer *last = &src->layers[src->n_layers - 1];

	if (!layer_type_is_erofs(last->media_type) || *role_of(last))
		return error_set(err, 0, "its last layer is no EROFS bootstrap");
	for (size_t i = 0; i + 1 < src->n_layers; i++)
		if (check_device(&src->layers[i], err) < 0)
			return -1;
	if (!config_has_erofs(src->config))
		return error_set(err, 0, "its config does not name erofs in os.features");
	return 0;
}

/*
 * Who reads an image holds all of them at once, so it is their sum that is bounded. What is wrong
 * with one by itself is told when it is opened.
 */
static int check_indexes(const struct image_source *src, struct error **err)
{
	struct erofs_index index;
	uint64_t sum = 0;

	for (size_t i = 0; i < src->n_layers; i++) {
		const struct image_layer *l = &src->layers[i];
		CLEANUP_ERROR struct error *told = NULL;

		if (strcmp(l->media_type, EROFS_MEDIA_TYPE_ZSTD) != 0 ||
			erofs_layer_index(l, &index, &told) < 0 || indexes_fit(&sum, &index))
			continue;
		return error_set(err, 0,
			"%s: with its chunk index, those of the image have more than %d bytes "
			"together; no more are read",
			l->name, RANGE_MAP_BYTES_MAX);
	}
	return 0;
}

int erofs_image_find(struct erofs_found *found, const struct image_source *src, struct error **err)
{
	*found = (struct erofs_found){ 0 };
	if (is_tar_image(src)) {
		error_set(err, 0, "%s: it is an image of tar layers, not a converted one",
			src->ref.spec);
		return error_hint(err, "erofs-convert convert %s oci:DIR:TAG", src->ref.spec);
	}
	if (check_found(src, err) < 0 || check_indexes(src, err) < 0)
		return error_wrap(err, "%s", src->ref.spec);
	found->n_devices = src->n_layers - 1;
	found->devices = xcalloc(found->n_devices, sizeof(*found->devices));
	for (size_t i = 0; i < found->n_devices; i++)
		found->devices[i] = &src->layers[i];
	found->bootstrap = &src->layers[src->n_layers - 1];
	return 0;
}

int erofs_layer_is_zstd(const struct image_layer *l, struct error **err)
{
	if (!strcmp(l->media_type, EROFS_MEDIA_TYPE))
		return 0;
	if (!strcmp(l->media_type, EROFS_MEDIA_TYPE_ZSTD))
		return 1;
	return error_set(err, 0, "%s has the media type %s, neither %s nor %s", l->name,
		l->media_type, EROFS_MEDIA_TYPE, EROFS_MEDIA_TYPE_ZSTD);
}

static const char *annotation(const struct image_layer *l, const char *name, struct error **err)
{
	const char *text = json_string_value(json_object_get(l->annotations, name));

	if (!text)
		error_set(err, 0, "%s: it has no annotation %s", l->name, name);
	return text;
}

/* Digits only, no sign, no space, no overflow. NULL, or what follows them. */
static const char *parse_offset(const char *text, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return NULL;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return errno ? NULL : end;
}

/* "offset[:end]"; without an end it is the blob's. */
static bool parse_range(const char *text, uint64_t size, struct erofs_index *index)
{
	const char *at = parse_offset(text, &index->offset);

	index->end = size;
	if (at && *at == ':')
		at = parse_offset(at + 1, &index->end);
	return at && !*at;
}

int erofs_layer_index(const struct image_layer *l, struct erofs_index *index, struct error **err)
{
	const uint64_t least = CHUNK_INDEX_SKIPPABLE + CHUNK_INDEX_HEADER;
	const char *range = annotation(l, EROFS_INDEX_RANGE, err);
	const char *digest = range ? annotation(l, EROFS_INDEX_DIGEST, err) : NULL;

	if (!digest)
		return -1;
	if (!parse_range(range, l->size, index))
		return error_set(err, 0, "%s: " EROFS_INDEX_RANGE " is malformed", l->name);
	if (index->end != l->size || index->offset > l->size ||
		index->end - index->offset < least || index->offset % CHUNK_INDEX_ALIGN)
		return error_set(err, 0,
			"%s: " EROFS_INDEX_RANGE " is not the end of its %" PRIu64 " bytes",
			l->name, l->size);
	if (digest_parse(&index->digest, digest, err) < 0)
		return error_wrap(err, "%s: " EROFS_INDEX_DIGEST, l->name);
	return 0;
}

void erofs_index_name(const struct erofs_index *index, struct digest *name)
{
	char digest[DIGEST_MAX_STR];
	CLEANUP_FREE char *all = xasprintf("%s %" PRIu64 ":%" PRIu64,
		digest_format(&index->digest, digest), index->offset, index->end);

	digest_of(name, DIGEST_SHA256, all, strlen(all));
}

void erofs_found_free(struct erofs_found *found)
{
	free(found->devices);
	*found = (struct erofs_found){ 0 };
}
