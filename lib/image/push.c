// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/push.h"

#include "lib/base/mem.h"
#include "lib/image/copy.h"
#include "lib/image/erofs.h"
#include "lib/image/image_config.h"
#include "lib/image/source_part.h"

static int commit(struct image_dest *dest, const struct origin *from, const struct descriptor *d,
	struct digest *digest, struct error **err)
{
	CLEANUP_FREE char *bytes = copy_parts(dest, from, d, err);

	if (!bytes)
		return -1;
	return image_dest_commit(dest, bytes, d->size, d->media_type, NULL, digest, err);
}

static int push_image(const struct image_ref *ref, const struct platform *wanted,
	struct image_dest *dest, struct digest *digest, struct error **err)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src =
		image_source_open_converted(ref, wanted, err);
	CLEANUP(erofs_found_free) struct erofs_found found = { 0 };
	struct descriptor d;
	struct origin from;

	if (!src || erofs_image_find(&found, src, err) < 0)
		return -1;
	d = (struct descriptor){
		.media_type = src->manifest_media_type,
		.digest = src->manifest_digest,
		.size = src->manifest_size,
	};
	from = source_origin(src);
	return commit(dest, &from, &d, digest, err);
}

static bool lists_erofs(const json_t *index)
{
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(index, "manifests"), i,
		entry) if (config_has_erofs(json_object_get(entry, "platform"))) return true;
	return false;
}

static int push_index(const struct image_ref *ref, const struct origin *from,
	const struct descriptor *d, struct image_dest *dest, struct digest *digest,
	struct error **err)
{
	json_auto_t *index = origin_read_object(from, d, "index", err);

	if (!index)
		return -1;
	if (!lists_erofs(index)) {
		error_set(err, 0, "its index lists no EROFS image");
		return error_hint(err, "erofs-convert convert --all %s DEST", ref->spec);
	}
	return commit(dest, from, d, digest, err);
}

int image_push(const struct image_ref *ref, const struct platform *wanted, bool all,
	struct image_dest *dest, struct digest *digest, struct error **err)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	CLEANUP_CHOICE struct choice c = { 0 };
	struct origin from;

	if (!all || ref->transport == TRANSPORT_TAR || ref->transport == TRANSPORT_DOCKER_ARCHIVE)
		return push_image(ref, wanted, dest, digest, err);
	src = source_open_named(ref, &c, err);
	if (!src)
		return -1;
	if (!media_type_is_index(c.d.media_type))
		return push_image(ref, wanted, dest, digest, err);
	from = source_origin(src);
	if (push_index(ref, &from, &c.d, dest, digest, err) < 0)
		return error_wrap(err, "%s", ref->spec);
	return 0;
}
