// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/listed.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/image/layout.h"

#define LIST_MAX 12

static bool is_unknown(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s && strcmp(s, "unknown") == 0;
}

/* BuildKit puts in-toto statements beside the images of an index, marked in these two ways. */
static bool is_attestation(const json_t *entry)
{
	const char *type = descriptor_annotation(entry, "vnd.docker.reference.type");
	const json_t *platform = json_object_get(entry, "platform");

	return (type && strcmp(type, "attestation-manifest") == 0) ||
	       (is_unknown(platform, "os") && is_unknown(platform, "architecture"));
}

/*
 * cosign stores what belongs to an image under the tag sha256-HEX.sig (.att, .sbom), and what
 * lists referrers in registries without that interface has the tag sha256-HEX. `cosign save`
 * says it in an annotation.
 */
static bool is_signature(const json_t *entry)
{
	const char *tag = descriptor_annotation(entry, ANNOTATION_REF_NAME);
	const char *kind = descriptor_annotation(entry, "kind");
	size_t hex;

	if (kind && strncmp(kind, "dev.cosignproject.cosign/", 25) == 0)
		return strcmp(kind + 25, "image") != 0 && strcmp(kind + 25, "imageIndex") != 0;
	if (!tag || strncmp(tag, "sha256-", 7) != 0)
		return false;
	hex = strspn(tag + 7, "0123456789abcdef");
	return hex == 64 && (!tag[7 + hex] || tag[7 + hex] == '.');
}

static bool is_artifact(const json_t *entry)
{
	const char *type = json_string_value(json_object_get(entry, "artifactType"));

	return type && *type && strcmp(type, MEDIA_TYPE_OCI_CONFIG) != 0 &&
	       strcmp(type, MEDIA_TYPE_DOCKER_CONFIG) != 0;
}

enum listed listed_kind(const json_t *entry)
{
	const char *type = json_string_value(json_object_get(entry, "mediaType"));

	if (is_attestation(entry))
		return LISTED_ATTESTATION;
	if (is_signature(entry))
		return LISTED_SIGNATURE;
	if (is_artifact(entry))
		return LISTED_ARTIFACT;
	if (type && !media_type_is_manifest(type) && !media_type_is_index(type))
		return LISTED_OTHER;
	return LISTED_IMAGE;
}

void text_list_add(struct text_list *l, const char *item)
{
	char *longer;

	for (const char *c = item; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return;
	if (++l->n > LIST_MAX + 1)
		return;
	longer = xasprintf("%s%s%.100s", l->text ? l->text : "", l->text ? ", " : "",
		l->n > LIST_MAX ? "..." : item);
	free(l->text);
	l->text = longer;
}

void text_list_free(struct text_list *l)
{
	free(l->text);
}

void listed_add_counts(struct text_list *l, const size_t counts[static LISTED_KINDS])
{
	static const char *const names[] = {
		[LISTED_ATTESTATION] = "attestation",
		[LISTED_SIGNATURE] = "signature",
		[LISTED_ARTIFACT] = "artifact",
		[LISTED_OTHER] = "manifest of an unknown type",
	};

	for (size_t i = LISTED_IMAGE + 1; i < LISTED_KINDS; i++) {
		CLEANUP_FREE char *item = NULL;

		if (!counts[i])
			continue;
		item = xasprintf("%zu %s%s", counts[i], names[i],
			counts[i] > 1 && i != LISTED_OTHER ? "s" : "");
		text_list_add(l, item);
	}
}
