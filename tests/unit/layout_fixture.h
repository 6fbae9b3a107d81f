/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Image layouts made by hand, piece by piece, so that a test can break any of them. */
#ifndef TESTS_UNIT_LAYOUT_FIXTURE_H
#define TESTS_UNIT_LAYOUT_FIXTURE_H

#include <jansson.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/image/layout.h"
#include "tests/unit/tmpdir.h"

#define TAR_TYPE "application/vnd.oci.image.layer.v1.tar"

/* A directory with oci-layout and blobs/, without index.json. */
static inline char *fixture_make(void)
{
	char *dir = tmpdir_make();
	CLEANUP_FREE char *layout = xasprintf("%s/oci-layout", dir);
	CLEANUP_FREE char *blobs = xasprintf("%s/blobs", dir);
	CLEANUP_FREE char *sha256 = xasprintf("%s/blobs/sha256", dir);

	write_file(layout, "{\"imageLayoutVersion\": \"1.0.0\"}", 31);
	mkdir(blobs, 0777);
	mkdir(sha256, 0777);
	return dir;
}

/* Store the bytes; a new descriptor of them. */
static inline json_t *fixture_blob(
	const char *dir, const char *media_type, const char *bytes, size_t len)
{
	char text[DIGEST_MAX_STR];
	struct digest d;

	digest_of(&d, DIGEST_SHA256, bytes, len);
	{
		CLEANUP_FREE char *path = layout_blob_path(dir, &d);

		write_file(path, bytes, len);
	}
	return json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest",
		digest_format(&d, text), "size", (json_int_t)len);
}

/* The same for a JSON value, which is taken over. */
static inline json_t *fixture_json(const char *dir, const char *media_type, json_t *value)
{
	CLEANUP_FREE char *text = json_dumps(value, JSON_COMPACT);

	json_decref(value);
	return fixture_blob(dir, media_type, text, strlen(text));
}

/* A config for linux/ARCH with the digests of `layers` as diff_ids. */
static inline json_t *fixture_config(const char *arch, const json_t *layers)
{
	json_t *ids = json_array(), *layer;
	size_t i;

	json_array_foreach(layers, i, layer)
		json_array_append(ids, json_object_get(layer, "digest"));
	return json_pack("{s:s, s:s, s:{s:[s]}, s:{s:s, s:o}}", "architecture", arch, "os", "linux",
		"config", "Cmd", "sh", "rootfs", "type", "layers", "diff_ids", ids);
}

/* A manifest with these layers and config (both taken over). */
static inline json_t *fixture_manifest(const char *dir, json_t *config, json_t *layers)
{
	return fixture_json(dir, MEDIA_TYPE_OCI_MANIFEST,
		json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType",
			MEDIA_TYPE_OCI_MANIFEST, "config",
			fixture_json(dir, MEDIA_TYPE_OCI_CONFIG, config), "layers", layers));
}

/* A whole image of one tar layer with the given content; its descriptor. */
static inline json_t *fixture_image(const char *dir, const char *arch, const char *content)
{
	json_t *layers = json_pack("[o]", fixture_blob(dir, TAR_TYPE, content, strlen(content)));

	return fixture_manifest(dir, fixture_config(arch, layers), layers);
}

static inline json_t *fixture_tagged(json_t *descriptor, const char *tag)
{
	json_object_set_new(
		descriptor, "annotations", json_pack("{s:s}", ANNOTATION_REF_NAME, tag));
	return descriptor;
}

static inline json_t *fixture_for(json_t *descriptor, const char *os, const char *arch)
{
	json_object_set_new(
		descriptor, "platform", json_pack("{s:s, s:s}", "architecture", arch, "os", os));
	return descriptor;
}

/* An index blob over these descriptors (an array, taken over). */
static inline json_t *fixture_index(const char *dir, json_t *manifests)
{
	return fixture_json(dir, MEDIA_TYPE_OCI_INDEX,
		json_pack("{s:i, s:s, s:o}", "schemaVersion", 2, "mediaType", MEDIA_TYPE_OCI_INDEX,
			"manifests", manifests));
}

/* Write index.json over these descriptors (an array, taken over). */
static inline void fixture_finish(const char *dir, json_t *manifests)
{
	json_auto_t *index = json_pack("{s:i, s:o}", "schemaVersion", 2, "manifests", manifests);
	CLEANUP_FREE char *path = xasprintf("%s/index.json", dir);
	CLEANUP_FREE char *text = json_dumps(index, 0);

	write_file(path, text, strlen(text));
}

#endif
