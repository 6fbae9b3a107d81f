// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Images of `docker save`: manifest.json lists them, each with a config and its layers by file
 * name. It states no digests; the config's diff_ids vouch for the layers.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/image/docker_name.h"
#include "lib/image/json.h"
#include "lib/image/layout.h"
#include "lib/image/listed.h"
#include "lib/image/manifest.h"
#include "lib/image/source_part.h"

#define MANIFEST_FILE "manifest.json"
#define LAYER_TYPE    "application/vnd.docker.image.rootfs.diff.tar"

static json_t *read_list(const struct bundle *where, struct error **err)
{
	CLEANUP_ERROR struct error *ignored = NULL;
	CLEANUP_FREE char *bytes = NULL;
	json_t *list;
	size_t size;

	bytes = bundle_read(where, MANIFEST_FILE, INDEX_MAX_BYTES, &size, err);
	if (!bytes) {
		if ((*err)->code != ENOENT)
			return NULL;
		if (tar_index_find(&where->archive->index, INDEX_FILE, &ignored))
			error_hint(err, "it is an OCI layout: name it oci-archive:FILE[:TAG]");
		else
			error_hint(err, "`docker save` writes one since Docker 1.10");
		return NULL;
	}
	list = array_parse(bytes, size, err);
	if (!list)
		error_wrap(err, MANIFEST_FILE);
	return list;
}

static void add_names(struct text_list *names, const json_t *list)
{
	json_t *image, *name;
	size_t i, k;

	json_array_foreach(list, i, image) json_array_foreach(json_object_get(image, "RepoTags"), k,
		name) if (json_is_string(name)) text_list_add(names, json_string_value(name));
}

static json_t *fail_choice(const json_t *list, const char *ref, struct error **err)
{
	CLEANUP_TEXT_LIST struct text_list names = { 0 };
	size_t n = json_array_size(list);

	add_names(&names, list);
	if (ref)
		error_set(err, 0, "the archive has no image \"%s\" (it has %zu: %s)", ref, n,
			names.text ? names.text : "none with a name");
	else
		error_set(err, 0, "the archive has %zu images (%s)", n,
			names.text ? names.text : "none with a name");
	error_hint(err, "name one: docker-archive:FILE:NAME:TAG, or by its place, "
			"docker-archive:FILE:@0");
	return NULL;
}

static json_t *pick_place(const json_t *list, const char *ref, struct error **err)
{
	const char *digits = ref + 1;
	size_t place = 0;

	if (!*digits || strlen(digits) > 6 || digits[strspn(digits, "0123456789")])
		return fail_choice(list, ref, err);
	for (; *digits; digits++)
		place = place * 10 + (size_t)(*digits - '0');
	return place < json_array_size(list) ? json_array_get(list, place)
					     : fail_choice(list, ref, err);
}

static bool has_name(const json_t *image, const char *wanted)
{
	json_t *name;
	size_t i;

	json_array_foreach(json_object_get(image, "RepoTags"), i, name)
	{
		CLEANUP_FREE char *full = NULL;

		if (!json_is_string(name))
			continue;
		full = docker_name_complete(json_string_value(name));
		if (strcmp(full, wanted) == 0)
			return true;
	}
	return false;
}

/* As skopeo: by name, by place, or the only one there is. */
static json_t *pick(const json_t *list, const char *ref, struct error **err)
{
	CLEANUP_FREE char *wanted = NULL;
	json_t *image;
	size_t i;

	if (!ref) {
		if (json_array_size(list) == 1)
			return json_array_get(list, 0);
		return fail_choice(list, NULL, err);
	}
	if (*ref == '@')
		return pick_place(list, ref, err);
	wanted = docker_name_complete(ref);
	json_array_foreach(list, i, image) if (has_name(image, wanted)) return image;
	return fail_choice(list, ref, err);
}

static int read_config(struct image_source *src, const json_t *image, struct error **err)
{
	struct bundle where = source_bundle(src);
	CLEANUP_FREE char *bytes = NULL;
	const char *name;
	size_t size;

	if (member_string(image, "Config", &name, err) < 0)
		return -1;
	if (!name || !*name)
		return error_set(err, 0, "\"Config\" is missing");
	bytes = bundle_read(&where, name, MANIFEST_MAX_BYTES, &size, err);
	if (!bytes)
		return error_wrap(err, "config");
	src->config = object_parse(bytes, size, err);
	return src->config ? 0 : error_wrap(err, "config");
}

static int read_layer(struct image_source *src, size_t i, const json_t *name, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;
	struct bundle where = source_bundle(src);
	struct image_layer *l = &src->layers[i];
	CLEANUP_FREE char *text = NULL;
	const char *s = json_string_value(name);

	if (!s || !*s || strlen(s) != json_string_length(name))
		return error_set(err, 0, "Layers[%zu] is not a file name", i);
	text = text_printable(s, strnlen(s, 100));
	l->name = xasprintf("layer %zu (%s)", i + 1, text);
	l->media_type = xstrdup(LAYER_TYPE);
	l->file = xstrdup(s);
	if (bundle_open(&where, s, &r, err) < 0)
		return error_wrap(err, "%s", l->name);
	l->size = r.size;
	return 0;
}

static int read_layers(struct image_source *src, const json_t *image, struct error **err)
{
	json_t *layers, *layer;
	size_t i;

	if (member_array(image, "Layers", &layers, err) < 0)
		return -1;
	src->n_layers = json_array_size(layers);
	src->layers = xcalloc(src->n_layers, sizeof(*src->layers));
	json_array_foreach(layers, i, layer) if (read_layer(src, i, layer, err) < 0) return -1;
	return 0;
}

static int read_image(struct image_source *src, const json_t *image, struct error **err)
{
	if (!json_is_object(image))
		return error_set(err, 0, "an image is not an object");
	if (read_config(src, image, err) < 0 || read_layers(src, image, err) < 0)
		return -1;
	return manifest_diff_ids(src, err);
}

int source_open_docker(struct image_source *src, const struct platform *wanted, struct error **err)
{
	struct bundle where = source_bundle(src);
	json_auto_t *list = read_list(&where, err);
	json_t *image;

	if (!list)
		return -1;
	image = pick(list, src->ref.tag, err);
	if (!image)
		return -1;
	manifest_make_up(src);
	if (read_image(src, image, err) < 0)
		return error_wrap(err, MANIFEST_FILE);
	return manifest_platform(src, wanted, false, err);
}
