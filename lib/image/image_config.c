// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/image_config.h"

#include <string.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/image/json.h"

#define FEATURE "erofs"

bool config_has_erofs(const json_t *config)
{
	json_t *feature;
	size_t i;

	json_array_foreach(json_object_get(config, "os.features"), i, feature)
	{
		const char *s = json_string_value(feature);

		if (s && strcmp(s, FEATURE) == 0)
			return true;
	}
	return false;
}

static int add_feature(json_t *config, struct error **err)
{
	json_t *features;

	if (member_array(config, "os.features", &features, err) < 0)
		return error_wrap(err, "config");
	if (config_has_erofs(config))
		return 0;
	if (features)
		json_array_append_new(features, json_string(FEATURE));
	else
		json_object_set_new(config, "os.features", json_pack("[s]", FEATURE));
	return 0;
}

static void append_digest(json_t *array, const struct digest *d)
{
	char text[DIGEST_MAX_STR];

	json_array_append_new(array, json_string(digest_format(d, text)));
}

static int replace_diff_ids(json_t *config, const struct erofs_image *image, struct error **err)
{
	json_t *rootfs, *ids = json_array();

	for (size_t i = 0; i < image->n_devices; i++)
		append_digest(ids, &image->devices[i].diff_id);
	append_digest(ids, &image->bootstrap.diff_id);
	if (member_object(config, "rootfs", &rootfs, err) < 0) {
		json_decref(ids);
		return error_wrap(err, "config");
	}
	if (rootfs) {
		json_object_set_new(rootfs, "diff_ids", ids);
	} else {
		json_object_set_new(config, "rootfs",
			json_pack("{s:s, s:o}", "type", "layers", "diff_ids", ids));
	}
	return 0;
}

static size_t devices_of(const struct erofs_image *image, size_t source_layer)
{
	size_t n = 0;

	for (size_t i = 0; i < image->n_devices; i++)
		n += image->devices[i].source_layer == source_layer;
	return n;
}

static bool is_empty_layer(const json_t *entry)
{
	return json_is_true(json_object_get(entry, "empty_layer"));
}

static json_t *bootstrap_entry(const json_t *config)
{
	const json_t *created = json_object_get(config, "created");
	json_t *entry = json_object();

	if (json_is_string(created))
		json_object_set_new(entry, "created", json_copy((json_t *)created));
	json_object_set_new(entry, "created_by", json_string("erofs-convert"));
	json_object_set_new(
		entry, "comment", json_string("EROFS bootstrap: the merged tree of all layers"));
	return entry;
}

/*
 * image-spec, config.md: entries without empty_layer stand for the layers in order. A source
 * layer that brought no data has no layer any more, and its entry becomes an empty one.
 */
static json_t *convert_history(
	const json_t *history, const json_t *config, const struct erofs_image *image)
{
	json_t *entry, *result = json_array();
	size_t i, layer = 0;

	json_array_foreach(history, i, entry)
	{
		size_t devices = is_empty_layer(entry) ? 0 : devices_of(image, layer++);
		json_t *copy = json_deep_copy(entry);

		if (devices == 0)
			json_object_set_new(copy, "empty_layer", json_true());
		json_array_append_new(result, copy);
		for (size_t n = 1; n < devices; n++)
			json_array_append(result, copy);
	}
	json_array_append_new(result, bootstrap_entry(config));
	return result;
}

static bool history_fits(const json_t *history, size_t n_layers)
{
	json_t *entry;
	size_t i, n = 0;

	json_array_foreach(history, i, entry)
	{
		if (!json_is_object(entry))
			return false;
		n += !is_empty_layer(entry);
	}
	return n == n_layers;
}

static int replace_history(json_t *config, const struct erofs_image *image,
	const struct image_source *src, struct error **err)
{
	json_t *history;

	if (member_array(config, "history", &history, err) < 0)
		return error_wrap(err, "config");
	if (!json_array_size(history))
		return 0;
	if (history_fits(history, src->n_layers)) {
		json_object_set_new(config, "history", convert_history(history, config, image));
		return 0;
	}
	log_warn("%s: the history in the config does not match the %zu layers, and is left out",
		src->ref.spec, src->n_layers);
	json_object_del(config, "history");
	return 0;
}

json_t *config_convert(
	const struct erofs_image *image, const struct image_source *src, struct error **err)
{
	json_auto_t *config = json_deep_copy(src->config);

	if (replace_diff_ids(config, image, err) < 0 || add_feature(config, err) < 0 ||
		replace_history(config, image, src, err) < 0)
		return NULL;
	return json_incref(config);
}

/* The order of members is that of image-spec's Go types. */
json_t *config_platform(const json_t *config)
{
	static const char *const keys[] = { "architecture", "os", "os.version", "os.features",
		"variant" };
	json_t *platform = json_object();

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		json_t *v = json_object_get(config, keys[i]);

		if (json_is_array(v) || json_string_length(v) > 0)
			json_object_set_new(platform, keys[i], json_deep_copy(v));
	}
	return platform;
}
