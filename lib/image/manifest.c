// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/manifest.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/image/json.h"
#include "lib/image/layer_type.h"

/* What else is stored under an image manifest's media type, by its config's type. */
static int fail_artifact(const json_t *manifest, const char *config_type, struct error **err)
{
	const char *type = json_string_value(json_object_get(manifest, "artifactType"));

	if (type && layer_type_is_signature(type))
		return error_set(err, 0, "it is a signature (%s), not a container image", type);
	if (strcmp(config_type, "application/vnd.oci.empty.v1+json") == 0)
		return error_set(
			err, 0, "it is an artifact without a config, not a container image");
	if (strncmp(config_type, "application/vnd.cncf.helm.", 26) == 0)
		return error_set(err, 0, "it is a Helm chart, not a container image");
	return error_set(
		err, 0, "it is an artifact, not a container image (config type %s)", config_type);
}

/* The check of containers/image against documents with two readings (CVE-2021-41190). */
static int check_is_manifest(const json_t *manifest, struct error **err)
{
	if (json_object_get(manifest, "fsLayers")) {
		error_set(err, 0, "the manifest is of Docker's old schema 1");
		return error_hint(
			err, "skopeo copy converts it to OCI: skopeo copy SOURCE oci:DIR:TAG");
	}
	if (json_object_get(manifest, "manifests"))
		return error_set(err, 0, "it is not an image manifest, as its descriptor says");
	return 0;
}

int manifest_config(struct descriptor *d, const struct image_source *src, struct error **err)
{
	json_t *config;

	if (check_is_manifest(src->manifest, err) < 0 ||
		member_object(src->manifest, "config", &config, err) < 0)
		return -1;
	if (!config)
		return error_set(err, 0, "\"config\" is missing");
	if (descriptor_parse(d, config, err) < 0)
		return error_wrap(err, "config");
	if (strcmp(d->media_type, MEDIA_TYPE_OCI_CONFIG) != 0 &&
		strcmp(d->media_type, MEDIA_TYPE_DOCKER_CONFIG) != 0)
		return fail_artifact(src->manifest, d->media_type, err);
	return 0;
}

static int read_layer(struct image_source *src, size_t i, const json_t *json, struct error **err)
{
	struct image_layer *l = &src->layers[i];
	char hex[DIGEST_MAX_STR];
	struct descriptor d;

	if (descriptor_parse(&d, json, err) < 0)
		return error_wrap(err, "layer %zu", i + 1);
	l->media_type = xstrdup(d.media_type);
	l->digest = d.digest;
	l->size = d.size;
	l->has_digest = true;
	l->annotations = json_incref(d.annotations);
	l->name = xasprintf("layer %zu (%s:%.12s...)", i + 1,
		d.digest.algo == DIGEST_SHA512 ? "sha512" : "sha256", digest_hex(&d.digest, hex));
	if (layer_type_check(l->media_type, err) < 0)
		return error_wrap(err, "%s", l->name);
	return 0;
}

int manifest_layers(struct image_source *src, struct error **err)
{
	json_t *layers, *layer;
	size_t i;

	if (member_array(src->manifest, "layers", &layers, err) < 0)
		return -1;
	src->layers = xcalloc(json_array_size(layers), sizeof(*src->layers));
	src->n_layers = json_array_size(layers);
	json_array_foreach(layers, i, layer) if (read_layer(src, i, layer, err) < 0) return -1;
	return 0;
}

int manifest_diff_ids(struct image_source *src, struct error **err)
{
	json_t *rootfs, *ids, *id;
	size_t i;

	if (member_object(src->config, "rootfs", &rootfs, err) < 0 ||
		member_array(rootfs, "diff_ids", &ids, err) < 0)
		return error_wrap(err, "config");
	if (json_array_size(ids) != src->n_layers)
		return error_set(err, 0, "the config has %zu diff_ids for %zu layers",
			json_array_size(ids), src->n_layers);
	json_array_foreach(ids, i, id)
	{
		if (!json_is_string(id))
			return error_set(err, 0, "config: diff_ids[%zu] is not a string", i);
		if (digest_parse(&src->layers[i].diff_id, json_string_value(id), err) < 0)
			return error_wrap(err, "config: diff_ids[%zu]", i);
		src->layers[i].has_diff_id = true;
	}
	return 0;
}

int manifest_platform(struct image_source *src, const struct platform *wanted, bool by_platform,
	struct error **err)
{
	char want[PLATFORM_MAX_STR], have[PLATFORM_MAX_STR];
	struct platform p, w;

	platform_from_json(&p, src->config);
	src->platform_text = xstrdup(platform_format(&p, have));
	if (!wanted || by_platform)
		return 0;
	w = *wanted;
	if (!*p.variant)
		*w.variant = '\0';
	if (platform_matches(&w, src->config))
		return 0;
	error_set(err, 0, "the image is for %s, not for %s", have, platform_format(wanted, want));
	return error_hint(err, "leave --platform out to take the image as it is");
}

void manifest_make_up(struct image_source *src)
{
	src->manifest = json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType",
		MEDIA_TYPE_OCI_MANIFEST, "layers");
	src->manifest_media_type = xstrdup(MEDIA_TYPE_OCI_MANIFEST);
}
