// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Images as OCI has them, by their descriptors: of a layout (a directory or a tar), a registry. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/image/layer_type.h"
#include "lib/image/listed.h"
#include "lib/image/manifest.h"
#include "lib/image/source_part.h"

static int fail_foreign(const struct image_layer *l, struct error **err)
{
	error_set(err, 0,
		"its data is not in the image: it is of the type %s, which registries do not "
		"distribute",
		l->media_type);
	error_hint(err, "ask the image's vendor for its data");
	return error_wrap(err, "%s", l->name);
}

/* Better now than after an hour of work on the layers below. */
static int check_layout_blobs(
	const struct image_source *src, const struct bundle *where, struct error **err)
{
	for (size_t i = 0; i < src->n_layers; i++) {
		CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;
		const struct image_layer *l = &src->layers[i];

		if (layout_open_blob(where, &l->digest, l->size, &r, err) == 0)
			continue;
		if ((*err)->code != ENOENT || !layer_type_is_foreign(l->media_type))
			return error_wrap(err, "%s", l->name);
		error_free(take_ptr(*err));
		return fail_foreign(l, err);
	}
	return 0;
}

/* A registry has what its manifests name, but for foreign layers: it is asked for these only. */
static int check_blobs(const struct image_source *src, struct error **err)
{
	struct origin where = source_origin(src);

	if (!where.remote)
		return check_layout_blobs(src, &where.layout, err);
	for (size_t i = 0; i < src->n_layers; i++) {
		const struct image_layer *l = &src->layers[i];
		int has;

		if (!layer_type_is_foreign(l->media_type))
			continue;
		has = origin_has_blob(&where, &l->digest, l->size, err);
		if (has < 0)
			return error_wrap(err, "%s", l->name);
		if (!has)
			return fail_foreign(l, err);
	}
	return 0;
}

/* The config is read first, but a converted image's bootstrap, its last layer, is never far behind.
 */
static void expect_bootstrap(const struct image_source *src)
{
	const json_t *layers = json_object_get(src->manifest, "layers");
	CLEANUP_ERROR struct error *ignored = NULL;
	size_t n = json_array_size(layers);
	struct descriptor last;

	if (src->remote && n &&
		descriptor_parse(&last, json_array_get(layers, n - 1), &ignored) == 0 &&
		layer_type_is_erofs(last.media_type))
		remote_expect_blob(src->remote, &last.digest, last.size);
}

static int read_image(struct image_source *src, struct error **err)
{
	struct origin where = source_origin(src);
	char digest[DIGEST_MAX_STR];
	struct descriptor config;

	if (manifest_config(&config, src, err) == 0) {
		expect_bootstrap(src);
		src->config = origin_read_object(&where, &config, "config", err);
		if (src->config && manifest_layers(src, err) == 0 &&
			manifest_diff_ids(src, err) == 0)
			return 0;
	}
	return error_wrap(err, "manifest %s", digest_format(&src->manifest_digest, digest));
}

/*
 * What is said of the image beside it in its index (BuildKit's attestations name it by an
 * annotation).
 */
static json_t *find_attestations(const struct choice *c)
{
	json_t *entry, *found = json_array();
	char digest[DIGEST_MAX_STR];
	size_t i;

	digest_format(&c->d.digest, digest);
	json_array_foreach(json_object_get(c->holder, "manifests"), i, entry)
	{
		const char *of = descriptor_annotation(entry, "vnd.docker.reference.digest");

		if (of && strcmp(of, digest) == 0 && listed_kind(entry) == LISTED_ATTESTATION)
			json_array_append_new(found, json_deep_copy(entry));
	}
	return found;
}

static int read_choice(struct image_source *src, const struct choice *c,
	const struct platform *wanted, struct error **err)
{
	struct origin where = source_origin(src);

	src->manifest_digest = c->d.digest;
	src->manifest_size = c->d.size;
	src->manifest_media_type = xstrdup(c->d.media_type);
	if (json_is_object(c->platform))
		src->platform = json_deep_copy(c->platform);
	src->attestations = find_attestations(c);
	src->manifest = origin_read_object(&where, &c->d, "manifest", err);
	if (!src->manifest || read_image(src, err) < 0)
		return -1;
	return manifest_platform(src, wanted, c->by_platform, err);
}

static struct choose_query query_of(const struct image_source *src, const struct origin *where)
{
	return (struct choose_query){
		.where = where,
		.spec = src->ref.spec,
		.form = src->archive ? "oci-archive:FILE:TAG" : "oci:DIR:TAG",
		.tag = src->remote ? NULL : src->ref.tag,
	};
}

int source_open_oci(
	struct image_source *src, const struct platform *wanted, bool converted, struct error **err)
{
	struct origin where = source_origin(src);
	struct choose_query q = query_of(src, &where);
	CLEANUP_CHOICE struct choice c = { 0 };

	q.wanted = wanted;
	q.converted = converted;
	if (choose_manifest(&c, &q, err) < 0 || read_choice(src, &c, wanted, err) < 0)
		return -1;
	return converted ? 0 : check_blobs(src, err);
}

int source_find_named(const struct image_source *src, struct choice *c, struct error **err)
{
	struct origin where = source_origin(src);
	struct choose_query q = query_of(src, &where);

	return choose_named(c, &q, err);
}

int source_open_oci_all(
	struct image_list *list, const struct image_source *first, struct error **err)
{
	struct origin where = source_origin(first);
	struct choose_query q = query_of(first, &where);
	CLEANUP_CHOICES struct choices all = { 0 };

	if (choose_all(&all, &q, err) < 0)
		return -1;
	list->v = xcalloc(all.n, sizeof(struct image_source *));
	for (; list->n < all.n; list->n++) {
		CLEANUP_IMAGE_SOURCE struct image_source *src = source_new(&first->ref);

		if (first->archive)
			src->archive = archive_ref(first->archive);
		if (first->remote)
			src->remote = remote_ref(first->remote);
		if (read_choice(src, &all.v[list->n], NULL, err) < 0 || check_blobs(src, err) < 0)
			return -1;
		list->v[list->n] = take_ptr(src);
	}
	return 0;
}
