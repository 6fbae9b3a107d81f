// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/original.h"

#include "lib/image/copy.h"
#include "lib/image/image_config.h"
#include "lib/image/source_part.h"

int original_check(const struct image_source *src, const char *option, struct error **err)
{
	if (src->manifest_size)
		return 0;
	error_set(err, 0, "%s: %s needs a source with a manifest, which %s has not", src->ref.spec,
		option, transport_prefix(src->ref.transport));
	if (src->ref.transport == TRANSPORT_DOCKER_ARCHIVE)
		error_hint(err, "skopeo copy %s oci:DIR:TAG, and convert that", src->ref.spec);
	return -1;
}

int original_add(
	struct image_source *src, struct image_dest *dest, json_t *manifests, struct error **err)
{
	const struct descriptor d = {
		.media_type = src->manifest_media_type,
		.digest = src->manifest_digest,
		.size = src->manifest_size,
	};
	struct origin from = source_origin(src);
	char digest[DIGEST_MAX_STR];
	json_t *entry;

	if (copy_whole(dest, &from, &d, err) < 0)
		return error_wrap(err, "%s", src->ref.spec);
	entry = json_pack("{s:s, s:s, s:I}", "mediaType", d.media_type, "digest",
		digest_format(&d.digest, digest), "size", (json_int_t)d.size);
	json_object_set_new(entry, "platform",
		src->platform ? json_deep_copy(src->platform) : config_platform(src->config));
	return json_array_append_new(manifests, entry);
}

int original_add_attestations(
	struct image_source *src, struct image_dest *dest, json_t *manifests, struct error **err)
{
	struct origin from = source_origin(src);
	struct descriptor d;
	json_t *entry;
	size_t i;

	json_array_foreach(src->attestations, i, entry)
	{
		if (descriptor_parse(&d, entry, err) < 0 || copy_whole(dest, &from, &d, err) < 0)
			return error_wrap(err, "%s: attestation", src->ref.spec);
		json_array_append(manifests, entry);
	}
	return 0;
}
