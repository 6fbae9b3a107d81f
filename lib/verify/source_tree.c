// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/source_tree.h"

#include "lib/base/interrupt.h"
#include "lib/image/layer_type.h"
#include "lib/layer/layer.h"
#include "lib/stream/decompress.h"
#include "lib/stream/meter.h"
#include "lib/stream/verify.h"
#include "lib/tree/apply.h"

enum { READ_SIZE = 256 * 1024 };

struct reading {
	struct source_tree *out;
	struct apply *apply;
	uint32_t file; /* the inode whose data is coming, or 0 */
	struct fingerprint print;
};

static void reading_free(struct reading *r)
{
	apply_free(r->apply);
	fingerprint_free(&r->print);
}

/* ---- what the layers tell ---- */

static int on_entry(void *arg, const struct entry *e, struct error **err)
{
	struct reading *r = arg;

	if (apply_entry(r->apply, e, &r->file, err) < 0)
		return -1;
	if (r->file)
		fingerprint_begin(&r->print);
	return 0;
}

static int on_data(void *arg, const uint8_t *p, size_t len, struct error **err)
{
	struct reading *r = arg;

	if (r->file)
		fingerprint_data(&r->print, p, len);
	return 0;
}

static int on_hole(void *arg, uint64_t len, struct error **err)
{
	struct reading *r = arg;

	if (r->file)
		fingerprint_hole(&r->print, len);
	return 0;
}

/* Numbers of inodes are used again: so are the places of their digests. */
static int on_file_end(void *arg, struct error **err)
{
	struct reading *r = arg;

	if (!r->file)
		return 0;
	while (r->out->digests.count < r->file)
		if (!segarray_add(&r->out->digests))
			return error_set(err, 0, "more than 2^32 inodes");
	fingerprint_end(&r->print, segarray_at(&r->out->digests, r->file));
	r->file = 0;
	return 0;
}

/* ---- their bytes ---- */

static struct stream *open_layer(
	struct image_source *src, size_t i, _Atomic uint64_t *done, struct error **err)
{
	const struct image_layer *l = &src->layers[i];
	struct stream *s = image_source_open_layer(src, i, err);

	if (!s)
		return NULL;
	s = stream_meter(s, done, NULL);
	if (l->has_digest)
		s = stream_verify(s, &l->digest, l->size);
	return stream_decompress(s);
}

static int push_all(struct layer_parser *p, struct stream *s, struct hasher *h, struct error **err)
{
	CLEANUP_FREE uint8_t *buf = xmalloc(READ_SIZE);
	ssize_t n;

	while ((n = s->read(s, buf, READ_SIZE, err)) > 0) {
		if (interrupt_pending())
			return error_set(err, 0, "interrupted");
		hasher_update(h, buf, (size_t)n);
		if (layer_parser_push(p, buf, (size_t)n, err) < 0)
			return -1;
	}
	return n < 0 ? -1 : layer_parser_finish(p, err);
}

static int check_diff_id(const struct image_layer *l, struct hasher *h, struct error **err)
{
	char text[DIGEST_MAX_STR];
	struct digest have;

	if (!l->has_diff_id)
		return 0;
	hasher_final(h, &have);
	if (digest_equal(&have, &l->diff_id))
		return 0;
	return error_set(err, 0, "the uncompressed layer has the digest %s, not its diff_id",
		digest_format(&have, text));
}

static int read_layer(struct reading *r, struct image_source *src, size_t i, _Atomic uint64_t *done,
	struct error **err)
{
	static const struct layer_events events = { on_entry, on_data, on_hole, on_file_end };
	const struct image_layer *l = &src->layers[i];
	CLEANUP_STREAM struct stream *s = open_layer(src, i, done, err);
	CLEANUP_HASHER struct hasher *h = NULL;
	struct layer_parser *p;
	int rc;

	if (!s || apply_begin_layer(r->apply, err) < 0)
		return -1;
	h = hasher_new(l->has_diff_id ? l->diff_id.algo : DIGEST_SHA256);
	p = layer_parser_new(&events, r);
	rc = push_all(p, s, h, err);
	layer_parser_free(p);
	if (rc < 0 || check_diff_id(l, h, err) < 0)
		return -1;
	return apply_end_layer(r->apply, err);
}

void source_tree_init(struct source_tree *t)
{
	tree_init(&t->tree);
	segarray_init(&t->digests, FINGERPRINT_SIZE);
}

int source_tree_read(
	struct source_tree *t, struct image_source *src, _Atomic uint64_t *done, struct error **err)
{
	CLEANUP(reading_free) struct reading r = { .out = t };

	r.apply = apply_new(&t->tree);
	for (size_t i = 0; i < src->n_layers; i++) {
		const struct image_layer *l = &src->layers[i];

		if (layer_type_is_erofs(l->media_type))
			return error_set(err, 0,
				"%s: %s is an EROFS image, not a tar layer to compare with",
				src->ref.spec, l->name);
		if (read_layer(&r, src, i, done, err) < 0)
			return error_wrap(err, "%s: %s", src->ref.spec, l->name);
	}
	return 0;
}

void source_tree_free(struct source_tree *t)
{
	tree_free(&t->tree);
	segarray_free(&t->digests);
}
