// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/referrers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/image/json.h"
#include "lib/image/layout.h"
#include "lib/registry/registry.h"

/* Others may write the list at the same time, and the last one wins. */
enum { TRIES = 4 };

static json_t *parse(const void *manifest, size_t size)
{
	CLEANUP_ERROR struct error *ignored = NULL;

	return object_parse(manifest, size, &ignored);
}

bool referrers_has_subject(const void *manifest, size_t size)
{
	json_auto_t *object = parse(manifest, size);

	return json_is_object(json_object_get(object, "subject"));
}

/* "sha256-HEX": the algorithm's first 32 characters, the digest's first 64. */
void referrers_tag(const struct digest *subject, char tag[static REFERRERS_TAG_MAX])
{
	char hex[DIGEST_MAX_STR];

	snprintf(tag, REFERRERS_TAG_MAX, "%s-%.64s",
		subject->algo == DIGEST_SHA512 ? "sha512" : "sha256", digest_hex(subject, hex));
}

/* As the referrers API would answer: the artifact's type, or else the config's. */
json_t *referrers_descriptor(
	const json_t *manifest, size_t size, const char *media_type, const struct digest *digest)
{
	char text[DIGEST_MAX_STR];
	json_t *d = json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest",
		digest_format(digest, text), "size", (json_int_t)size);
	json_t *type = json_object_get(manifest, "artifactType");
	json_t *annotations = json_object_get(manifest, "annotations");

	if (!json_string_length(type))
		type = json_object_get(json_object_get(manifest, "config"), "mediaType");
	if (json_is_string(type))
		json_object_set(d, "artifactType", type);
	if (json_object_size(annotations))
		json_object_set(d, "annotations", annotations);
	return d;
}

int referrers_put(json_t *index, json_t *descriptor, bool *changed, struct error **err)
{
	const json_t *digest = json_object_get(descriptor, "digest");
	json_t *manifests, *entry;
	size_t i;

	*changed = false;
	if (member_array(index, "manifests", &manifests, err) < 0)
		return -1;
	if (!manifests)
		return error_set(err, 0, "it is not an index");
	json_array_foreach(manifests, i,
		entry) if (json_equal(json_object_get(entry, "digest"), digest)) return 0;
	*changed = true;
	return json_array_append(manifests, descriptor);
}

/* The list as it is now, or an empty one. */
static json_t *read_list(struct registry *r, const char *tag, struct error **err)
{
	CLEANUP_REGISTRY_DOCUMENT struct registry_document doc = { 0 };

	if (registry_get_manifest(r, tag, NULL, &doc, err) == 0)
		return object_parse(doc.bytes, doc.size, err);
	if ((*err)->code != ENOENT)
		return NULL;
	error_free(take_ptr(*err));
	return json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType", MEDIA_TYPE_OCI_INDEX,
		"manifests");
}

static int write_list(struct registry *r, const char *tag, const json_t *index, struct error **err)
{
	CLEANUP_FREE char *text = NULL;
	struct digest digest;
	size_t size;

	text = object_format(index, &size);
	if (size > MANIFEST_MAX_BYTES)
		return error_set(
			err, 0, "the list would have %zu bytes, more than registries take", size);
	digest_of(&digest, DIGEST_SHA256, text, size);
	return registry_put_manifest(r, tag, text, size, MEDIA_TYPE_OCI_INDEX, &digest, NULL, err);
}

/* Until it is in when the list is read again. */
static int put_in_list(struct registry *r, const char *tag, json_t *descriptor, struct error **err)
{
	for (int i = 0; i < TRIES; i++) {
		json_auto_t *index = read_list(r, tag, err);
		bool changed;

		if (!index || referrers_put(index, descriptor, &changed, err) < 0)
			return -1;
		if (!changed)
			return 0;
		if (write_list(r, tag, index, err) < 0)
			return -1;
	}
	log_warn("the list of referrers under the tag %s is being changed by others", tag);
	return 0;
}

int referrers_add(struct registry *r, const void *manifest, size_t size, const char *media_type,
	const struct digest *digest, struct error **err)
{
	json_auto_t *object = parse(manifest, size), *descriptor = NULL;
	json_t *subject = json_object_get(object, "subject");
	char tag[REFERRERS_TAG_MAX];
	struct descriptor d;

	if (!json_is_object(subject))
		return 0;
	if (descriptor_parse(&d, subject, err) < 0)
		return error_wrap(err, "the manifest's subject");
	referrers_tag(&d.digest, tag);
	log_debug("the registry keeps no list of referrers; it is written under the tag %s", tag);
	descriptor = referrers_descriptor(object, size, media_type, digest);
	if (put_in_list(r, tag, descriptor, err) < 0)
		return error_wrap(err, "the list of referrers under the tag %s", tag);
	return 0;
}
