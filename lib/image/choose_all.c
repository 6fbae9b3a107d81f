// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* All images of an index, for conversions of every platform. */
#include "config.h"

#include <string.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/image/choose.h"
#include "lib/image/image_config.h"
#include "lib/image/listed.h"

/* Real ones have a dozen; each is read into memory. */
#define MAX_IMAGES 256

struct walk {
	const struct choose_query *q;
	struct choices *all;
	json_t *seen; /* digests: what is listed twice counts once, also an index */
	size_t counts[LISTED_KINDS];
	struct text_list skipped; /* platforms */
};

static bool is_new(struct walk *w, const struct descriptor *d)
{
	char digest[DIGEST_MAX_STR];

	digest_format(&d->digest, digest);
	if (json_object_get(w->seen, digest))
		return false;
	json_object_set_new(w->seen, digest, json_true());
	return true;
}

/* Why an image is left out, or NULL. */
static const char *why_not(const json_t *platform, const struct platform *p)
{
	if (*p->os && strcmp(p->os, "linux") != 0)
		return "EROFS is for Linux";
	if (config_has_erofs(platform))
		return "EROFS already";
	return NULL;
}

static int take(struct walk *w, const struct descriptor *d, json_t *holder, const json_t *entry,
	struct error **err)
{
	const json_t *platform = json_object_get(entry, "platform");
	char text[PLATFORM_MAX_STR];
	struct platform p;
	const char *why;

	platform_from_json(&p, platform);
	why = why_not(platform, &p);
	if (why) {
		CLEANUP_FREE char *item = xasprintf("%s (%s)", platform_format(&p, text), why);

		text_list_add(&w->skipped, item);
		return 0;
	}
	if (w->all->n == MAX_IMAGES)
		return error_set(err, 0, "the index has more than %d images", MAX_IMAGES);
	w->all->v = xgrow(w->all->v, w->all->n, &w->all->cap, sizeof(*w->all->v));
	w->all->v[w->all->n++] = (struct choice){
		.d = *d,
		.holder = json_incref(holder),
		.platform = platform,
		.by_platform = json_is_object(platform),
	};
	return 0;
}

/* `holder` is what `entry` lies in. */
static int walk_entry(
	struct walk *w, json_t *holder, const json_t *entry, int depth, struct error **err)
{
	json_auto_t *index = NULL;
	struct descriptor d;
	json_t *inner;
	size_t i;

	if (descriptor_parse(&d, entry, err) < 0 || choose_check_type(&d, depth, err) < 0)
		return -1;
	if (!is_new(w, &d))
		return 0;
	if (media_type_is_manifest(d.media_type))
		return take(w, &d, holder, entry, err);
	index = choose_read_index(w->q, &d, err);
	if (!index)
		return -1;
	json_array_foreach(json_object_get(index, "manifests"), i, inner)
	{
		enum listed kind = listed_kind(inner);

		w->counts[kind]++;
		if (kind == LISTED_IMAGE && walk_entry(w, index, inner, depth + 1, err) < 0)
			return -1;
	}
	return 0;
}

static int finish(struct walk *w, struct error **err)
{
	listed_add_counts(&w->skipped, w->counts);
	if (!w->all->n)
		return error_set(err, 0, "there is no image to convert (there is: %s)",
			w->skipped.text ? w->skipped.text : "none at all");
	if (w->skipped.text)
		log_info("%s: skipped: %s", w->q->spec, w->skipped.text);
	return 0;
}

int choose_all(struct choices *all, const struct choose_query *q, struct error **err)
{
	json_auto_t *index = origin_read_index(q->where, err), *seen = json_object();
	struct walk w = { .q = q, .all = all, .seen = seen };
	const json_t *entry;
	int rc = -1;

	*all = (struct choices){ 0 };
	entry = index ? choose_tag(json_object_get(index, "manifests"), q, err) : NULL;
	if (entry && walk_entry(&w, index, entry, 0, err) == 0)
		rc = finish(&w, err);
	text_list_free(&w.skipped);
	return rc;
}

void choices_free(struct choices *all)
{
	for (size_t i = 0; i < all->n; i++)
		choice_free(&all->v[i]);
	free(all->v);
	*all = (struct choices){ 0 };
}
