// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/source.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/image/layout.h"
#include "lib/image/source_part.h"

struct image_source *source_new(const struct image_ref *ref)
{
	struct image_source *src = xzalloc(sizeof(*src));

	image_ref_copy(&src->ref, ref);
	return src;
}

struct bundle source_bundle(const struct image_source *src)
{
	return (struct bundle){
		.dir = src->ref.transport == TRANSPORT_OCI ? src->ref.path : NULL,
		.archive = src->archive,
	};
}

struct origin source_origin(const struct image_source *src)
{
	return (struct origin){ .layout = source_bundle(src), .remote = src->remote };
}

/* What the reference names is there to be looked into, where it is one thing. */
static int open_place(struct image_source *src, struct error **err)
{
	switch (src->ref.transport) {
	case TRANSPORT_OCI_ARCHIVE:
	case TRANSPORT_DOCKER_ARCHIVE:
		src->archive = archive_open(src->ref.path, err);
		return src->archive ? 0 : -1;
	case TRANSPORT_DOCKER:
		src->remote = remote_open(&src->ref, err);
		return src->remote ? 0 : -1;
	default:
		return 0;
	}
}

static int open_by_transport(
	struct image_source *src, const struct platform *wanted, bool converted, struct error **err)
{
	if (open_place(src, err) < 0)
		return -1;
	switch (src->ref.transport) {
	case TRANSPORT_OCI:
	case TRANSPORT_OCI_ARCHIVE:
	case TRANSPORT_DOCKER:
		return source_open_oci(src, wanted, converted, err);
	case TRANSPORT_DOCKER_ARCHIVE:
		return source_open_docker(src, wanted, err);
	case TRANSPORT_TAR:
		return source_open_tars(src, wanted, err);
	}
	__builtin_unreachable();
}

static struct image_source *open_ref(const struct image_ref *ref, const struct platform *wanted,
	bool converted, struct error **err)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src = source_new(ref);

	if (open_by_transport(src, wanted, converted, err) == 0)
		return take_ptr(src);
	error_wrap(err, "%s", ref->spec);
	return NULL;
}

struct image_source *image_source_open(
	const struct image_ref *ref, const struct platform *wanted, struct error **err)
{
	return open_ref(ref, wanted, false, err);
}

struct image_source *image_source_open_converted(
	const struct image_ref *ref, const struct platform *wanted, struct error **err)
{
	return open_ref(ref, wanted, true, err);
}

struct image_source *source_open_named(
	const struct image_ref *ref, struct choice *c, struct error **err)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src = source_new(ref);

	if (open_place(src, err) == 0 && source_find_named(src, c, err) == 0)
		return take_ptr(src);
	error_wrap(err, "%s", ref->spec);
	return NULL;
}

static int open_one(struct image_list *list, const struct image_ref *ref, struct error **err)
{
	struct image_source *src = image_source_open(ref, NULL, err);

	if (!src)
		return -1;
	list->v = xcalloc(1, sizeof(struct image_source *));
	list->v[list->n++] = src;
	return 0;
}

int image_list_open(struct image_list *list, const struct image_ref *ref, struct error **err)
{
	CLEANUP_IMAGE_SOURCE struct image_source *first = NULL;

	*list = (struct image_list){ 0 };
	if (ref->transport == TRANSPORT_TAR || ref->transport == TRANSPORT_DOCKER_ARCHIVE)
		return open_one(list, ref, err);
	first = source_new(ref);
	if (open_place(first, err) == 0 && source_open_oci_all(list, first, err) == 0)
		return 0;
	image_list_free(list);
	return error_wrap(err, "%s", ref->spec);
}

void image_list_free(struct image_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		image_source_free(list->v[i]);
	free(list->v);
	*list = (struct image_list){ 0 };
}

struct stream *image_source_open_layer(struct image_source *src, size_t i, struct error **err)
{
	const struct image_layer *l = &src->layers[i];
	struct origin where = source_origin(src);
	struct file_range r;
	int fd;

	if (src->ref.transport == TRANSPORT_TAR) {
		fd = source_open_tar_file(src, i, err);
		return fd < 0 ? NULL : stream_from_fd(fd, l->name);
	}
	if (!l->file)
		return origin_open_stream(&where, &l->digest, l->size, l->name, err);
	if (bundle_open(&where.layout, l->file, &r, err) < 0)
		return NULL;
	return stream_from_range(r.fd, r.offset, r.size, l->name);
}

int image_source_open_blob(
	struct image_source *src, const struct digest *d, struct file_range *r, struct error **err)
{
	struct bundle where = source_bundle(src);

	*r = FILE_RANGE_NONE;
	if (src->remote)
		return source_open_remote_blob(src, d, r, err);
	if (src->ref.transport == TRANSPORT_OCI || src->ref.transport == TRANSPORT_OCI_ARCHIVE)
		return layout_find_blob(&where, d, r, err);
	return error_set(err, 0,
		"%s: only image layouts and registries keep blobs by their digests", src->ref.spec);
}

char *image_source_blob_path(struct image_source *src, const struct digest *d, struct error **err)
{
	if (src->ref.transport == TRANSPORT_OCI)
		return layout_blob_path(src->ref.path, d);
	error_set(err, 0, "%s: only image layouts (oci:) keep blobs in files", src->ref.spec);
	if (src->ref.transport != TRANSPORT_DOCKER_ARCHIVE && src->ref.transport != TRANSPORT_TAR)
		error_hint(err, "copy it: skopeo copy %s oci:DIR:TAG", src->ref.spec);
	return NULL;
}

void image_source_free(struct image_source *src)
{
	if (!src)
		return;
	for (size_t i = 0; i < src->n_layers; i++) {
		free(src->layers[i].media_type);
		json_decref(src->layers[i].annotations);
		free(src->layers[i].file);
		free(src->layers[i].name);
	}
	free(src->layers);
	json_decref(src->manifest);
	json_decref(src->config);
	json_decref(src->platform);
	json_decref(src->attestations);
	free(src->manifest_media_type);
	free(src->platform_text);
	archive_unref(src->archive);
	remote_unref(src->remote);
	image_ref_free(&src->ref);
	free(src);
}
