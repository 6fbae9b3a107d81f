// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Images of an OCI layout, in a directory or a tar. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/image/layer_type.h"
#include "lib/image/manifest.h"
#include "lib/image/source_part.h"

/* Better now than after an hour of work on the layers below. */
static int check_blobs(const struct image_source *src, struct error **err)
{
	struct bundle where = source_bundle(src);

	for (size_t i = 0; i < src->n_layers; i++) {
		CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;
		const struct image_layer *l = &src->layers[i];

		if (layout_open_blob(&where, &l->digest, l->size, &r, err) == 0)
			continue;
		if ((*err)->code == ENOENT && layer_type_is_foreign(l->media_type)) {
			error_free(take_ptr(*err));
			error_set(err, 0,
				"its data is not in the image: it is of the type %s, which "
				"registries do not distribute",
				l->media_type);
			error_hint(err, "ask the image's vendor for its data");
		}
		return error_wrap(err, "%s", l->name);
	}
	return 0;
}

static int read_image(struct image_source *src, struct error **err)
{
	struct bundle where = source_bundle(src);
	char digest[DIGEST_MAX_STR];
	struct descriptor config;

	if (manifest_config(&config, src, err) == 0) {
		src->config = layout_read_object(&where, &config, "config", err);
		if (src->config && manifest_layers(src, err) == 0 &&
			manifest_diff_ids(src, err) == 0)
			return 0;
	}
	return error_wrap(err, "manifest %s", digest_format(&src->manifest_digest, digest));
}

static int read_choice(struct image_source *src, const struct choice *c,
	const struct platform *wanted, struct error **err)
{
	struct bundle where = source_bundle(src);

	src->manifest_digest = c->d.digest;
	src->manifest_size = c->d.size;
	src->manifest_media_type = xstrdup(c->d.media_type);
	if (json_is_object(c->platform))
		src->platform = json_deep_copy(c->platform);
	src->manifest = layout_read_object(&where, &c->d, "manifest", err);
	if (!src->manifest || read_image(src, err) < 0)
		return -1;
	return manifest_platform(src, wanted, c->by_platform, err);
}

static struct choose_query query_of(const struct image_source *src, const struct bundle *where)
{
	return (struct choose_query){
		.where = where,
		.spec = src->ref.spec,
		.form = src->archive ? "oci-archive:FILE:TAG" : "oci:DIR:TAG",
		.tag = src->ref.tag,
	};
}

int source_open_layout(
	struct image_source *src, const struct platform *wanted, bool converted, struct error **err)
{
	struct bundle where = source_bundle(src);
	struct choose_query q = query_of(src, &where);
	CLEANUP_CHOICE struct choice c = { 0 };

	q.wanted = wanted;
	q.converted = converted;
	if (layout_check(&where, err) < 0 || choose_manifest(&c, &q, err) < 0 ||
		read_choice(src, &c, wanted, err) < 0)
		return -1;
	return converted ? 0 : check_blobs(src, err);
}

int source_open_layout_all(
	struct image_list *list, const struct image_source *first, struct error **err)
{
	struct bundle where = source_bundle(first);
	struct choose_query q = query_of(first, &where);
	CLEANUP_CHOICES struct choices all = { 0 };

	if (layout_check(&where, err) < 0 || choose_all(&all, &q, err) < 0)
		return -1;
	list->v = xcalloc(all.n, sizeof(struct image_source *));
	for (; list->n < all.n; list->n++) {
		CLEANUP_IMAGE_SOURCE struct image_source *src = source_new(&first->ref);

		if (first->archive)
			src->archive = archive_ref(first->archive);
		if (read_choice(src, &all.v[list->n], NULL, err) < 0 || check_blobs(src, err) < 0)
			return -1;
		list->v[list->n] = take_ptr(src);
	}
	return 0;
}
