// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/documents.h"

#include <string.h>

#include "lib/base/text.h"
#include "lib/image/json.h"
#include "lib/image/layout.h"

/* ---- each by itself ---- */

static int check_manifest(const struct image_source *src, struct error **err)
{
	const char *type;
	json_t *annotations;
	uint64_t version;

	if (member_size(src->manifest, "schemaVersion", &version, err) < 0 ||
		member_string(src->manifest, "mediaType", &type, err) < 0 ||
		member_string_map(src->manifest, "annotations", &annotations, err) < 0)
		return -1;
	if (version != 2)
		return error_set(err, 0, "\"schemaVersion\" is not 2");
	if (type && strcmp(type, src->manifest_media_type) != 0)
		return error_set(err, 0, "\"mediaType\" is not the one of its descriptor");
	return 0;
}

static int check_history(const struct image_source *src, struct error **err)
{
	json_t *history, *entry;
	size_t i, n = 0;

	if (member_array(src->config, "history", &history, err) < 0)
		return -1;
	json_array_foreach(history, i, entry)
	{
		if (!json_is_object(entry))
			return error_set(err, 0, "\"history\"[%zu] is not an object", i);
		n += !json_is_true(json_object_get(entry, "empty_layer"));
	}
	if (json_array_size(history) && n != src->n_layers)
		return error_set(
			err, 0, "\"history\" tells of %zu layers, there are %zu", n, src->n_layers);
	return 0;
}

/* os and architecture are required: without them no tool knows where the image runs. */
static int check_config(const struct image_source *src, struct error **err)
{
	static const char *const required[] = { "architecture", "os" };
	const char *type, *text;
	json_t *rootfs;

	for (size_t i = 0; i < sizeof(required) / sizeof(*required); i++) {
		if (member_string(src->config, required[i], &text, err) < 0)
			return -1;
		if (!text)
			return error_set(err, 0, "\"%s\" is missing", required[i]);
	}
	if (member_object(src->config, "rootfs", &rootfs, err) < 0)
		return -1;
	if (rootfs && member_string(rootfs, "type", &type, err) < 0)
		return error_wrap(err, "\"rootfs\"");
	if (rootfs && (!type || strcmp(type, "layers") != 0))
		return error_set(err, 0, "\"rootfs\".\"type\" is not \"layers\"");
	return 0;
}

static void take(struct faults *faults, const char *what, struct error **err)
{
	error_wrap(err, "%s", what);
	faults_take(faults, err);
}

void documents_check(const struct image_source *src, struct faults *faults)
{
	struct error *err = NULL;

	if (check_manifest(src, &err) < 0)
		take(faults, "manifest", &err);
	if (check_config(src, &err) < 0)
		take(faults, "config", &err);
	if (check_history(src, &err) < 0)
		take(faults, "config", &err);
}

/* ---- against the source ---- */

static bool conversion_changes(const char *key)
{
	return !strcmp(key, "rootfs") || !strcmp(key, "history") || !strcmp(key, "os.features");
}

/* Members of `a` that `b` lacks, or has otherwise. */
static void compare_members(
	const json_t *a, const json_t *b, bool values, struct faults *out, const char *what)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)a, key, value)
	{
		const json_t *other = json_object_get(b, key);
		CLEANUP_FREE char *name = text_printable(key, strlen(key));

		if (conversion_changes(key))
			continue;
		if (!other)
			faults_add(out, "config: \"%s\" is not in the %s", name, what);
		else if (values && !json_equal(value, other))
			faults_add(out, "config: \"%s\" is not the source's", name);
	}
}

void documents_compare(const struct image_source *src, const struct image_source *source,
	struct faults *differences)
{
	if (source->ref.transport == TRANSPORT_TAR)
		return;
	compare_members(src->config, source->config, true, differences, "source");
	compare_members(source->config, src->config, false, differences, "image");
}
