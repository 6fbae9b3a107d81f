// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/copy.h"

#include "lib/base/mem.h"
#include "lib/image/choose.h"
#include "lib/image/json.h"
#include "lib/image/layer_type.h"

/* As deep as images are looked for; and far more documents than an index has. */
enum { MAX_DEPTH = 8, MAX_DOCUMENTS = 4096 };

/* A document on the way from the top to the one that is copied now. */
struct level {
	struct descriptor d; /* lies in the level above */
	char *bytes;
	json_t *object;
	json_t *manifests; /* of an index, else NULL */
	size_t next; /* of these */
};

struct copy {
	struct image_dest *dest;
	const struct origin *from;
	json_t *seen; /* digests: what is listed twice is copied once */
	struct level levels[MAX_DEPTH + 2];
	size_t depth;
};

static int copy_blob(struct copy *c, const json_t *json, struct error **err)
{
	char digest[DIGEST_MAX_STR];
	struct descriptor d;
	int has = 1;

	if (descriptor_parse(&d, json, err) < 0)
		return -1;
	if (layer_type_is_foreign(d.media_type))
		has = origin_has_blob(c->from, &d.digest, d.size, err);
	if (has < 0 || (has && image_dest_copy_blob(c->dest, c->from, &d.digest, d.size, err) < 0))
		return error_wrap(err, "blob %s", digest_format(&d.digest, digest));
	return 0;
}

static int copy_blobs(struct copy *c, const json_t *manifest, struct error **err)
{
	json_t *config, *layers, *layer;
	size_t i;

	if (json_object_get(manifest, "manifests") ||
		member_object(manifest, "config", &config, err) < 0 ||
		member_array(manifest, "layers", &layers, err) < 0)
		return *err ? -1 : error_set(err, 0, "it is not an image manifest");
	if (config && copy_blob(c, config, err) < 0)
		return -1;
	json_array_foreach(layers, i, layer) if (copy_blob(c, layer, err) < 0) return -1;
	return 0;
}

static void leave(struct level *l)
{
	free(l->bytes);
	json_decref(l->object);
}

/* A manifest's blobs are copied at once; what an index lists, one by one. */
static int enter(struct copy *c, const struct descriptor *d, struct error **err)
{
	struct level *l = &c->levels[c->depth];
	char digest[DIGEST_MAX_STR];

	if (choose_check_type(d, (int)c->depth, err) < 0)
		return -1;
	*l = (struct level){ .d = *d, .bytes = origin_read_bytes(c->from, d, "manifest", err) };
	if (!l->bytes)
		return -1;
	c->depth++;
	l->object = object_parse(l->bytes, d->size, err);
	if (l->object &&
		(media_type_is_manifest(d->media_type)
				? copy_blobs(c, l->object, err)
				: member_array(l->object, "manifests", &l->manifests, err)) == 0)
		return 0;
	return error_wrap(err, "manifest %s", digest_format(&d->digest, digest));
}

static bool is_new(struct copy *c, const struct descriptor *d)
{
	char digest[DIGEST_MAX_STR];

	digest_format(&d->digest, digest);
	if (json_object_get(c->seen, digest))
		return false;
	json_object_set_new(c->seen, digest, json_true());
	return true;
}

/* One step: into the next document of the lowest level, or out of it. */
static int step(struct copy *c, struct error **err)
{
	struct level *l = &c->levels[c->depth - 1];
	struct descriptor d;
	int rc;

	if (l->next < json_array_size(l->manifests)) {
		if (descriptor_parse(&d, json_array_get(l->manifests, l->next++), err) < 0)
			return error_wrap(err, "manifests[%zu]", l->next - 1);
		if (!is_new(c, &d))
			return 0;
		if (json_object_size(c->seen) > MAX_DOCUMENTS)
			return error_set(
				err, 0, "the index lists more than %d documents", MAX_DOCUMENTS);
		return enter(c, &d, err);
	}
	rc = image_dest_add_manifest(
		c->dest, l->bytes, l->d.size, l->d.media_type, &l->d.digest, err);
	leave(l);
	c->depth--;
	return rc;
}

static void copy_end(struct copy *c)
{
	while (c->depth)
		leave(&c->levels[--c->depth]);
	json_decref(c->seen);
}

char *copy_parts(struct image_dest *dest, const struct origin *from, const struct descriptor *d,
	struct error **err)
{
	CLEANUP(copy_end)
	struct copy c = { .dest = dest, .from = from, .seen = json_object() };
	const struct level *top = &c.levels[0];

	if (enter(&c, d, err) < 0)
		return NULL;
	while (c.depth > 1 || top->next < json_array_size(top->manifests))
		if (step(&c, err) < 0)
			return NULL;
	return take_ptr(c.levels[0].bytes);
}

int copy_whole(struct image_dest *dest, const struct origin *from, const struct descriptor *d,
	struct error **err)
{
	CLEANUP_FREE char *bytes = copy_parts(dest, from, d, err);

	if (!bytes)
		return -1;
	return image_dest_add_manifest(dest, bytes, d->size, d->media_type, &d->digest, err);
}
