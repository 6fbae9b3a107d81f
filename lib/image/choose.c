// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/choose.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/image/json.h"

/* An index within an index within ...: more than one level is rare already. */
#define MAX_DEPTH 8

#define LIST_MAX 12

/* A growing "a, b, c" for messages, cut when it gets long. */
struct list {
	char *text;
	size_t n;
};

static void list_add(struct list *l, const char *item)
{
	char *longer;

	for (const char *c = item; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return; /* nobody could type it anyway */
	if (++l->n > LIST_MAX + 1)
		return;
	longer = xasprintf("%s%s%.100s", l->text ? l->text : "", l->text ? ", " : "",
		l->n > LIST_MAX ? "..." : item);
	free(l->text);
	l->text = longer;
}

static void list_free(struct list *l)
{
	free(l->text);
}

#define CLEANUP_LIST CLEANUP(list_free)

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

static const char *media_type_of(const json_t *entry)
{
	const char *s = json_string_value(json_object_get(entry, "mediaType"));

	return s ? s : "";
}

static int fail_tags(const json_t *manifests, const char *tag, struct error **err)
{
	CLEANUP_LIST struct list tags = { 0 };
	json_t *entry;
	size_t i;

	json_array_foreach(manifests, i, entry)
	{
		const char *name = descriptor_annotation(entry, ANNOTATION_REF_NAME);

		if (name && !is_attestation(entry))
			list_add(&tags, name);
	}
	if (tag)
		error_set(err, 0, "the layout has no image with the tag \"%s\" (it has: %s)", tag,
			tags.text ? tags.text : "none with a tag");
	else
		error_set(err, 0, "the layout has several images (tags: %s)",
			tags.text ? tags.text : "none");
	return error_hint(err, "name one: oci:DIR:TAG");
}

/* The first one counts, as in containers/image (getManifestDescriptor in oci/layout). */
static json_t *pick_tag(const json_t *manifests, const char *tag, struct error **err)
{
	json_t *entry, *other = NULL;
	size_t i;

	json_array_foreach(manifests, i, entry)
	{
		const char *name = descriptor_annotation(entry, ANNOTATION_REF_NAME);

		if (!name || strcmp(name, tag) != 0)
			continue;
		if (media_type_is_manifest(media_type_of(entry)) ||
			media_type_is_index(media_type_of(entry)))
			return entry;
		if (!other)
			other = entry; /* its type makes a better message than "no such tag" */
	}
	if (!other)
		fail_tags(manifests, tag, err);
	return other;
}

/* Without a tag there must be one image; that it is listed twice does no harm. */
static json_t *pick_only(const json_t *manifests, struct error **err)
{
	json_t *entry, *only = NULL;
	size_t i;

	json_array_foreach(manifests, i, entry)
	{
		if (is_attestation(entry))
			continue;
		if (only && !json_equal(json_object_get(only, "digest"),
				    json_object_get(entry, "digest"))) {
			fail_tags(manifests, NULL, err);
			return NULL;
		}
		only = only ? only : entry;
	}
	if (!only)
		error_set(err, 0, "the layout has no image");
	return only;
}

static void fail_platform(
	const json_t *manifests, const struct platform *wanted, struct error **err)
{
	CLEANUP_LIST struct list have = { 0 };
	char text[PLATFORM_MAX_STR];
	struct platform p;
	json_t *entry;
	size_t i;

	json_array_foreach(manifests, i, entry)
	{
		if (is_attestation(entry))
			continue;
		platform_from_json(&p, json_object_get(entry, "platform"));
		list_add(&have, platform_format(&p, text));
	}
	error_set(err, 0, "there is no image for %s (there is: %s)", platform_format(wanted, text),
		have.text ? have.text : "none at all");
	error_hint(err, "choose one by --platform OS/ARCH[/VARIANT]");
}

/*
 * The best fit, the first of equals; else the first that states no platform, as in
 * containers/image; when nobody asked for a platform, the only one there is.
 */
static json_t *pick_platform(const json_t *manifests, const struct platform *wanted,
	bool *by_platform, struct error **err)
{
	json_t *entry, *best = NULL, *any = NULL, *without = NULL;
	unsigned best_fit = 0;
	struct platform want;
	size_t i, n = 0;

	if (wanted)
		want = *wanted;
	else
		platform_host(&want);
	json_array_foreach(manifests, i, entry)
	{
		json_t *platform = json_object_get(entry, "platform");
		unsigned fit = platform_fit(&want, platform);

		if (is_attestation(entry))
			continue;
		n++;
		any = any ? any : entry;
		if (!json_is_object(platform) && !without)
			without = entry;
		if (fit > best_fit) {
			best_fit = fit;
			best = entry;
		}
	}
	*by_platform = *by_platform || best;
	if (!best)
		best = without;
	if (!best && !wanted && n == 1)
		best = any;
	if (!best)
		fail_platform(manifests, &want, err);
	return best;
}

static int fail_type(const struct descriptor *d, struct error **err)
{
	static const char schema1[] = "application/vnd.docker.distribution.manifest.v1+";

	if (strncmp(d->media_type, schema1, strlen(schema1)) == 0) {
		error_set(err, 0, "the manifest is of Docker's old schema 1");
		return error_hint(
			err, "skopeo copy converts it to OCI: skopeo copy SOURCE oci:DIR:TAG");
	}
	return error_set(err, 0, "%s is neither an image manifest nor an index", d->media_type);
}

/* A document that could be read as both would be one thing to us, another to others. */
static json_t *nested_manifests(const json_t *index, struct error **err)
{
	json_t *manifests, *entry;
	size_t i;

	if (member_array(index, "manifests", &manifests, err) < 0)
		return NULL;
	if (!manifests || json_object_get(index, "layers") || json_object_get(index, "config")) {
		error_set(err, 0, "it is not an index, as its descriptor says");
		return NULL;
	}
	json_array_foreach(manifests, i, entry) if (!json_is_object(entry))
	{
		error_set(err, 0, "manifests[%zu] is not an object", i);
		return NULL;
	}
	return manifests;
}

static int descend(struct descriptor *d, json_t **holder, bool *by_platform, const char *dir,
	const struct platform *wanted, struct error **err)
{
	json_auto_t *index = layout_read_object(dir, d, "index", err);
	json_t *manifests, *entry;
	char digest[DIGEST_MAX_STR];

	if (!index)
		return -1;
	manifests = nested_manifests(index, err);
	entry = manifests ? pick_platform(manifests, wanted, by_platform, err) : NULL;
	if (!entry)
		return error_wrap(err, "index %s", digest_format(&d->digest, digest));
	json_decref(*holder);
	*holder = json_incref(index);
	return descriptor_parse(d, entry, err);
}

int choose_manifest(struct descriptor *d, json_t **holder, bool *by_platform, const char *dir,
	const char *tag, const struct platform *wanted, struct error **err)
{
	json_t *manifests, *entry;

	*by_platform = false;
	*holder = layout_read_index(dir, err);
	if (!*holder)
		return -1;
	manifests = json_object_get(*holder, "manifests");
	entry = tag ? pick_tag(manifests, tag, err) : pick_only(manifests, err);
	if (!entry || descriptor_parse(d, entry, err) < 0)
		return -1;
	for (int depth = 0; !media_type_is_manifest(d->media_type); depth++) {
		if (!media_type_is_index(d->media_type))
			return fail_type(d, err);
		if (depth == MAX_DEPTH)
			return error_set(err, 0, "indexes are nested more than %d deep", MAX_DEPTH);
		if (descend(d, holder, by_platform, dir, wanted, err) < 0)
			return -1;
	}
	return 0;
}
