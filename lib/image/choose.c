// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/choose.h"

#include <string.h>

#include "lib/base/log.h"
#include "lib/image/image_config.h"
#include "lib/image/json.h"
#include "lib/image/listed.h"

/* An index within an index within ...: more than one level is rare already. */
#define MAX_DEPTH 8

static const char *media_type_of(const json_t *entry)
{
	const char *s = json_string_value(json_object_get(entry, "mediaType"));

	return s ? s : "";
}

static int fail_tags(const json_t *manifests, const struct choose_query *q, struct error **err)
{
	CLEANUP_TEXT_LIST struct text_list tags = { 0 };
	json_t *entry;
	size_t i;

	json_array_foreach(manifests, i, entry)
	{
		const char *name = descriptor_annotation(entry, ANNOTATION_REF_NAME);

		if (name && listed_kind(entry) == LISTED_IMAGE)
			text_list_add(&tags, name);
	}
	if (q->tag)
		error_set(err, 0, "the layout has no image with the tag \"%s\" (it has: %s)",
			q->tag, tags.text ? tags.text : "none with a tag");
	else
		error_set(err, 0, "the layout has several images (tags: %s)",
			tags.text ? tags.text : "none");
	return error_hint(err, "name one: %s", q->form);
}

/* The first one counts, as in containers/image (getManifestDescriptor in oci/layout). */
static const json_t *pick_tag(
	const json_t *manifests, const struct choose_query *q, struct error **err)
{
	json_t *entry, *other = NULL;
	size_t i;

	json_array_foreach(manifests, i, entry)
	{
		const char *name = descriptor_annotation(entry, ANNOTATION_REF_NAME);

		if (!name || strcmp(name, q->tag) != 0)
			continue;
		if (media_type_is_manifest(media_type_of(entry)) ||
			media_type_is_index(media_type_of(entry)))
			return entry;
		if (!other)
			other = entry; /* its type makes a better message than "no such tag" */
	}
	if (!other)
		fail_tags(manifests, q, err);
	return other;
}

/* Without a tag there must be one image; that it is listed twice does no harm. */
static const json_t *pick_only(
	const json_t *manifests, const struct choose_query *q, struct error **err)
{
	json_t *entry, *only = NULL, *other = NULL;
	size_t i;

	json_array_foreach(manifests, i, entry)
	{
		if (listed_kind(entry) != LISTED_IMAGE) {
			other = other ? other : entry;
			continue;
		}
		if (only && !json_equal(json_object_get(only, "digest"),
				    json_object_get(entry, "digest"))) {
			fail_tags(manifests, q, err);
			return NULL;
		}
		only = only ? only : entry;
	}
	if (!only && !other)
		error_set(err, 0, "the layout has no image");
	return only ? only : other; /* which says better what it is instead */
}

const json_t *choose_tag(const json_t *manifests, const struct choose_query *q, struct error **err)
{
	return q->tag ? pick_tag(manifests, q, err) : pick_only(manifests, q, err);
}

static void fail_platform(
	const json_t *manifests, const struct platform *wanted, struct error **err)
{
	CLEANUP_TEXT_LIST struct text_list have = { 0 };
	char text[PLATFORM_MAX_STR];
	struct platform p;
	json_t *entry;
	size_t i;

	json_array_foreach(manifests, i, entry)
	{
		if (listed_kind(entry) != LISTED_IMAGE)
			continue;
		platform_from_json(&p, json_object_get(entry, "platform"));
		text_list_add(&have, platform_format(&p, text));
	}
	error_set(err, 0, "there is no image for %s (there is: %s)", platform_format(wanted, text),
		have.text ? have.text : "none at all");
	error_hint(err, "choose one by --platform OS/ARCH[/VARIANT]");
}

struct candidates {
	const json_t *best; /* by fit, the first of equals */
	unsigned best_fit;
	const json_t *without; /* the first that states no platform */
	const json_t *only; /* the first of all, and how many there are */
	size_t n;
};

/* An image of the kind that is asked for comes before the other kind, however well that fits. */
static void consider(
	struct candidates *c, const json_t *entry, const struct platform *want, bool converted)
{
	const json_t *platform = json_object_get(entry, "platform");
	unsigned fit = platform_fit(want, platform);

	if (fit && config_has_erofs(platform) == converted)
		fit += 1u << 20;
	c->n++;
	c->only = c->only ? c->only : entry;
	if (!json_is_object(platform) && !c->without)
		c->without = entry;
	if (fit > c->best_fit) {
		c->best_fit = fit;
		c->best = entry;
	}
}

static void tell_skipped(const struct choose_query *q, const size_t counts[static LISTED_KINDS])
{
	CLEANUP_TEXT_LIST struct text_list skipped = { 0 };

	listed_add_counts(&skipped, counts);
	if (skipped.text && !q->converted)
		log_info("%s: skipped: %s", q->spec, skipped.text);
}

/*
 * The best fit; else the first that states no platform, as in containers/image; when nobody
 * asked for a platform, the only one there is.
 */
const json_t *choose_platform(const json_t *manifests, const struct choose_query *q,
	bool *by_platform, struct error **err)
{
	size_t i, counts[LISTED_KINDS] = { 0 };
	struct candidates c = { 0 };
	struct platform want;
	json_t *entry;

	if (q->wanted)
		want = *q->wanted;
	else
		platform_host(&want);
	json_array_foreach(manifests, i, entry)
	{
		enum listed kind = listed_kind(entry);

		counts[kind]++;
		if (kind == LISTED_IMAGE)
			consider(&c, entry, &want, q->converted);
	}
	*by_platform = *by_platform || c.best;
	if (!c.best)
		c.best = c.without;
	if (!c.best && !q->wanted && c.n == 1)
		c.best = c.only;
	if (!c.best)
		fail_platform(manifests, &want, err);
	else
		tell_skipped(q, counts);
	return c.best;
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

json_t *choose_read_index(
	const struct choose_query *q, const struct descriptor *d, struct error **err)
{
	json_auto_t *index = origin_read_object(q->where, d, "index", err);
	char digest[DIGEST_MAX_STR];

	if (!index)
		return NULL;
	if (nested_manifests(index, err))
		return json_incref(index);
	error_wrap(err, "index %s", digest_format(&d->digest, digest));
	return NULL;
}

int choose_check_type(const struct descriptor *d, int depth, struct error **err)
{
	if (media_type_is_manifest(d->media_type))
		return 0;
	if (!media_type_is_index(d->media_type))
		return fail_type(d, err);
	if (depth == MAX_DEPTH)
		return error_set(err, 0, "indexes are nested more than %d deep", MAX_DEPTH);
	return 0;
}

static int descend(struct choice *c, const struct choose_query *q, struct error **err)
{
	json_auto_t *index = choose_read_index(q, &c->d, err);
	char digest[DIGEST_MAX_STR];
	const json_t *entry;

	if (!index)
		return -1;
	entry = choose_platform(json_object_get(index, "manifests"), q, &c->by_platform, err);
	if (!entry)
		return error_wrap(err, "index %s", digest_format(&c->d.digest, digest));
	json_decref(c->holder);
	c->holder = json_incref(index);
	c->platform = json_object_get(entry, "platform");
	return descriptor_parse(&c->d, entry, err);
}

int choose_named(struct choice *c, const struct choose_query *q, struct error **err)
{
	const json_t *entry;

	*c = (struct choice){ .holder = origin_read_index(q->where, err) };
	if (!c->holder)
		return -1;
	entry = choose_tag(json_object_get(c->holder, "manifests"), q, err);
	return entry ? descriptor_parse(&c->d, entry, err) : -1;
}

int choose_manifest(struct choice *c, const struct choose_query *q, struct error **err)
{
	if (choose_named(c, q, err) < 0)
		return -1;
	for (int depth = 0;; depth++) {
		if (choose_check_type(&c->d, depth, err) < 0)
			return -1;
		if (media_type_is_manifest(c->d.media_type))
			return 0;
		if (descend(c, q, err) < 0)
			return -1;
	}
}

void choice_free(struct choice *c)
{
	json_decref(c->holder);
	*c = (struct choice){ 0 };
}
