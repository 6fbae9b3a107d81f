// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Any bytes as index, manifest and config, in the parts that touch no files. The first byte
 * chooses; of an image, manifest and config are parted by a NUL.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/image/choose.h"
#include "lib/image/erofs.h"
#include "lib/image/image_config.h"
#include "lib/image/json.h"
#include "lib/image/listed.h"
#include "lib/image/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static bool all_objects(const json_t *array)
{
	json_t *v;
	size_t i;

	json_array_foreach(array, i, v) if (!json_is_object(v)) return false;
	return true;
}

/* Every tag that there is, and every platform, can be asked for. */
static void choose_from(const json_t *manifests, const char *tag, bool converted)
{
	CLEANUP_ERROR struct error *no_tag = NULL, *no_platform = NULL, *odd = NULL;
	struct platform wanted = { .os = "linux", .architecture = "amd64" };
	const struct choose_query q = {
		.spec = "x", .form = "x", .tag = tag, .wanted = &wanted, .converted = converted
	};
	const json_t *entry = choose_tag(manifests, &q, &no_tag);
	struct descriptor d;
	bool by_platform = false;

	MUST(!entry == !!no_tag);
	MUST(!choose_platform(manifests, &q, &by_platform, &no_platform) == !!no_platform);
	if (entry && descriptor_parse(&d, entry, &odd) == 0) {
		CLEANUP_ERROR struct error *type = NULL;

		MUST(*d.media_type && strlen(d.media_type) < 256);
		choose_check_type(&d, 0, &type);
	}
}

static void fuzz_index(const char *bytes, size_t size)
{
	CLEANUP_ERROR struct error *err = NULL;
	json_auto_t *index = object_parse(bytes, size, &err);
	json_t *manifests, *entry;
	size_t i;

	if (!index || member_array(index, "manifests", &manifests, &err) < 0 ||
		!all_objects(manifests))
		return;
	choose_from(manifests, NULL, false);
	choose_from(manifests, "t", true);
	json_array_foreach(manifests, i, entry)
	{
		const char *tag = descriptor_annotation(entry, ANNOTATION_REF_NAME);

		MUST(listed_kind(entry) < LISTED_KINDS);
		if (tag && i < 10)
			choose_from(manifests, tag, false);
	}
}

/* What has been taken for an image can be made a converted one, whose config says so. */
static void convert(struct image_source *src)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct erofs_layer layer = { .source_layer = 0 };
	struct erofs_image image = { .devices = &layer, .n_devices = src->n_layers > 0 };
	json_auto_t *config = config_convert(&image, src, &err), *platform = NULL;
	struct erofs_found found;

	MUST(!config == !!err);
	if (config) {
		platform = config_platform(config);
		MUST(config_has_erofs(config) && json_is_object(platform));
	}
	if (src->n_layers && erofs_image_find(&found, src, &err) == 0) {
		MUST(found.n_devices + 1 == src->n_layers);
		erofs_found_free(&found);
	}
}

static void fuzz_image(const char *bytes, size_t size)
{
	const char *end = memchr(bytes, 0, size);
	size_t first = end ? (size_t)(end - bytes) : size;
	CLEANUP_ERROR struct error *err = NULL, *other = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = xzalloc(sizeof(*src));
	struct platform wanted = { .os = "linux", .architecture = "arm", .variant = "v7" };
	struct descriptor d;

	src->ref.spec = xstrdup("x");
	src->manifest = object_parse(bytes, first, &err);
	if (!src->manifest || manifest_config(&d, src, &err) < 0 || manifest_layers(src, &err) < 0)
		return;
	src->config = end ? object_parse(end + 1, size - first - 1, &err) : json_object();
	if (!src->config || manifest_diff_ids(src, &err) < 0)
		return;
	manifest_platform(src, &wanted, false, &other);
	convert(src);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *copy = NULL;

	log_set_level(LOG_QUIET);
	if (!size)
		return 0;
	copy = xmemdup(data + 1, size - 1);
	if (*data & 1)
		fuzz_index(copy, size - 1);
	else
		fuzz_image(copy, size - 1);
	return 0;
}
