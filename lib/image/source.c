// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/image/choose.h"
#include "lib/image/json.h"
#include "lib/image/layer_type.h"
#include "lib/image/layout.h"

/* What else is stored under an image manifest's media type, by its config's type. */
static int fail_artifact(const char *config_type, struct error **err)
{
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
	if (json_object_get(manifest, "manifests") || json_object_get(manifest, "fsLayers"))
		return error_set(err, 0, "it is not an image manifest, as its descriptor says");
	return 0;
}

static int read_config(struct image_source *src, struct error **err)
{
	struct descriptor d;
	json_t *config;

	if (member_object(src->manifest, "config", &config, err) < 0)
		return -1;
	if (!config)
		return error_set(err, 0, "\"config\" is missing");
	if (descriptor_parse(&d, config, err) < 0)
		return error_wrap(err, "config");
	if (strcmp(d.media_type, MEDIA_TYPE_OCI_CONFIG) != 0 &&
		strcmp(d.media_type, MEDIA_TYPE_DOCKER_CONFIG) != 0)
		return fail_artifact(d.media_type, err);
	src->config = layout_read_object(src->ref.path, &d, "config", err);
	return src->config ? 0 : -1;
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

static int read_layers(struct image_source *src, struct error **err)
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

static int read_diff_ids(struct image_source *src, struct error **err)
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

/* Better now than after an hour of work on the layers below. */
static int check_blobs(const struct image_source *src, struct error **err)
{
	for (size_t i = 0; i < src->n_layers; i++) {
		const struct image_layer *l = &src->layers[i];
		CLEANUP_FD int fd = layout_open_blob(src->ref.path, &l->digest, l->size, err);

		if (fd >= 0)
			continue;
		if ((*err)->code == ENOENT && layer_type_is_foreign(l->media_type)) {
			error_free(take_ptr(*err));
			error_set(err, 0,
				"its data is not in the image: it is of the type %s, which "
				"registries do not distribute",
				l->media_type);
		}
		return error_wrap(err, "%s", l->name);
	}
	return 0;
}

/*
 * An index's platform was matched already, and knows better than the config: many configs for
 * arm/v6 state no variant.
 */
static int check_platform(struct image_source *src, const struct platform *wanted, bool by_platform,
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

static int read_image(struct image_source *src, struct error **err)
{
	char digest[DIGEST_MAX_STR];

	if (check_is_manifest(src->manifest, err) < 0 || read_config(src, err) < 0 ||
		read_layers(src, err) < 0 || read_diff_ids(src, err) < 0)
		return error_wrap(err, "manifest %s", digest_format(&src->manifest_digest, digest));
	return check_blobs(src, err);
}

static int open_layout(struct image_source *src, const struct platform *wanted, struct error **err)
{
	json_auto_t *holder = NULL;
	struct descriptor d;
	bool by_platform;

	if (layout_check(src->ref.path, err) < 0 ||
		choose_manifest(
			&d, &holder, &by_platform, src->ref.path, src->ref.tag, wanted, err) < 0)
		return -1;
	src->manifest_digest = d.digest;
	src->manifest_size = d.size;
	src->manifest_media_type = xstrdup(d.media_type);
	src->manifest = layout_read_object(src->ref.path, &d, "manifest", err);
	if (!src->manifest || read_image(src, err) < 0)
		return -1;
	return check_platform(src, wanted, by_platform, err);
}

static int open_tar_layer(struct image_source *src, size_t i, struct error **err)
{
	const char *file = src->ref.files[i];
	struct image_layer *l = &src->layers[i];
	struct stat st;

	l->media_type = xstrdup("application/vnd.oci.image.layer.v1.tar");
	if (strcmp(file, "-") == 0) {
		l->name = xstrdup("standard input");
		return 0;
	}
	l->name = xstrdup(file);
	if (stat(file, &st) < 0)
		return error_set(err, errno, "cannot open %s", file);
	if (S_ISDIR(st.st_mode)) {
		error_set(err, 0, "%s is a directory", file);
		return error_hint(err, "pack it: tar -C %s -cf layer.tar .", file);
	}
	l->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	return 0;
}

/* The least that other tools take for an image; nothing in it depends on when it was made. */
static void make_up(struct image_source *src, const struct platform *p)
{
	char text[PLATFORM_MAX_STR];

	src->config = json_pack("{s:s, s:s, s:{}, s:{s:s, s:[]}}", "architecture", p->architecture,
		"os", p->os, "config", "rootfs", "type", "layers", "diff_ids");
	if (*p->variant)
		json_object_set_new(src->config, "variant", json_string(p->variant));
	src->manifest = json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType",
		MEDIA_TYPE_OCI_MANIFEST, "layers");
	src->manifest_media_type = xstrdup(MEDIA_TYPE_OCI_MANIFEST);
	src->platform_text = xstrdup(platform_format(p, text));
}

static int open_tars(struct image_source *src, const struct platform *wanted, struct error **err)
{
	struct platform p;

	if (wanted)
		p = *wanted;
	else
		platform_host(&p);
	make_up(src, &p);
	src->layers = xcalloc(src->ref.n_files, sizeof(*src->layers));
	src->n_layers = src->ref.n_files;
	for (size_t i = 0; i < src->n_layers; i++)
		if (open_tar_layer(src, i, err) < 0)
			return -1;
	return 0;
}

struct image_source *image_source_open(
	const struct image_ref *ref, const struct platform *wanted, struct error **err)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src = xzalloc(sizeof(*src));
	int rc;

	image_ref_copy(&src->ref, ref);
	rc = ref->transport == TRANSPORT_OCI ? open_layout(src, wanted, err)
					     : open_tars(src, wanted, err);
	if (rc == 0)
		return take_ptr(src);
	error_wrap(err, "%s", ref->spec);
	return NULL;
}

static int open_tar_file(struct image_source *src, size_t i, struct error **err)
{
	const char *file = src->ref.files[i];
	int fd;

	if (strcmp(file, "-") != 0) {
		fd = open(file, O_RDONLY | O_CLOEXEC);
		return fd < 0 ? error_set(err, errno, "cannot open %s", file) : fd;
	}
	if (src->stdin_used) {
		error_set(err, 0, "standard input can be read only once");
		return error_hint(err, "write it to a file first");
	}
	src->stdin_used = true;
	fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? error_set(err, errno, "cannot read standard input") : fd;
}

struct stream *image_source_open_layer(struct image_source *src, size_t i, struct error **err)
{
	const struct image_layer *l = &src->layers[i];
	int fd = src->ref.transport == TRANSPORT_OCI
			 ? layout_open_blob(src->ref.path, &l->digest, l->size, err)
			 : open_tar_file(src, i, err);

	return fd < 0 ? NULL : stream_from_fd(fd, l->name);
}

char *image_source_blob_path(struct image_source *src, const struct digest *d, struct error **err)
{
	if (src->ref.transport == TRANSPORT_OCI)
		return layout_blob_path(src->ref.path, d);
	error_set(err, 0, "%s: only image layouts (oci:) keep blobs in files", src->ref.spec);
	return NULL;
}

void image_source_free(struct image_source *src)
{
	if (!src)
		return;
	for (size_t i = 0; i < src->n_layers; i++) {
		free(src->layers[i].media_type);
		json_decref(src->layers[i].annotations);
		free(src->layers[i].name);
	}
	free(src->layers);
	json_decref(src->manifest);
	json_decref(src->config);
	free(src->manifest_media_type);
	free(src->platform_text);
	image_ref_free(&src->ref);
	free(src);
}
