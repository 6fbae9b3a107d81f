// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/blobs.h"

#include <inttypes.h>
#include <string.h>

#include "fmt/erofs.h"
#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/blob/decoder.h"
#include "lib/image/device.h"
#include "lib/image/erofs.h"
#include "lib/image/parts.h"
#include "lib/verify/users.h"

enum { READ_SIZE = 64 * EROFS_BLOCK_SIZE };

/* ---- the pass ---- */

struct pass {
	struct blob *blob;
	const struct image_layer *layer;
	struct stream *stream;
	struct hasher *digest; /* of the bytes as stored */
	uint8_t *buf;
	size_t fill;
	/* compressed: */
	struct range_map *map;
	struct decoder *decoder;
	uint8_t *stored, *content;
};

static void pass_free(struct pass *p)
{
	cleanup_stream_(&p->stream);
	hasher_free(p->digest);
	range_map_free(p->map);
	decoder_free(p->decoder);
	free(p->stored);
	free(p->content);
	free(p->buf);
}

/* `want` bytes, fewer only at the end. */
static int read_some(struct pass *p, uint8_t *buf, size_t want, struct error **err)
{
	ssize_t n = 1;

	for (p->fill = 0; p->fill < want && n; p->fill += (size_t)n) {
		if (interrupt_pending())
			return error_set(err, 0, "interrupted");
		n = p->stream->read(p->stream, buf + p->fill, want - p->fill, err);
		if (n < 0)
			return -1;
	}
	hasher_update(p->digest, buf, p->fill);
	p->blob->size += p->fill;
	*p->blob->done += p->fill;
	return 0;
}

/* To the end, or one buffer past the descriptor's size. Raw bytes are the content. */
static int read_rest(struct pass *p, bool content, struct error **err)
{
	do {
		if (read_some(p, p->buf, READ_SIZE, err) < 0)
			return -1;
		if (content)
			blob_content_take(&p->blob->content, p->buf, p->fill);
	} while (p->fill == READ_SIZE && p->blob->size <= p->layer->size);
	return 0;
}

static void keep_bad_frame(struct blob *b, const struct frame *f, struct error *fault)
{
	if (b->n_bad < BAD_FRAMES_MAX)
		b->bad[b->n_bad] = (struct bad_frame){ f->offset, f->size, fault };
	else
		error_free(fault);
	b->n_bad++;
}

/* A bad frame does not end the pass: the others may be bad, too. */
static int read_frame(struct pass *p, const struct frame *f, struct error **err)
{
	struct error *fault = NULL;

	if (read_some(p, p->stored, f->stored_size, err) < 0)
		return -1;
	if (p->fill < f->stored_size)
		return error_set(err, 0, "it ends within frame %" PRIu32, f->number);
	if (frame_verify(f, p->stored, &fault) < 0 ||
		decoder_decode(p->decoder, f, p->stored, p->content, &fault) < 0) {
		error_wrap(&fault, "frame %" PRIu32 " (bytes %" PRIu64 " to %" PRIu64 ")",
			f->number, f->stored_offset, f->stored_offset + f->stored_size);
		keep_bad_frame(p->blob, f, fault);
		blob_content_take(&p->blob->content, NULL, f->size);
		return 0;
	}
	blob_content_take(&p->blob->content, p->content, f->size);
	return 0;
}

static int read_frames(struct pass *p, struct error **err)
{
	for (uint32_t i = 0; i < range_map_n_frames(p->map); i++) {
		struct frame f = range_map_frame(p->map, i);

		if (read_frame(p, &f, err) < 0)
			return -1;
	}
	return 0;
}

static int compare_size(const struct pass *p, struct error **err)
{
	if (p->blob->size == p->layer->size)
		return 0;
	return error_set(err, 0, "it has %s than the %" PRIu64 " bytes of its descriptor",
		p->blob->size < p->layer->size ? "fewer" : "more", p->layer->size);
}

/* A frame that is bad makes a bad digest: that need not be said again. */
static int compare_digest(struct pass *p, struct digest *have, struct error **err)
{
	char text[DIGEST_MAX_STR];

	hasher_final(p->digest, have);
	if (digest_equal(have, &p->layer->digest) || p->blob->n_bad)
		return 0;
	return error_set(err, 0, "its bytes have the digest %s", digest_format(have, text));
}

static int compare_content(
	const struct image_layer *l, const struct digest *have, struct error **err)
{
	struct digest annotated;
	char text[DIGEST_MAX_STR];

	if (!l->has_diff_id)
		return error_set(err, 0, "the config has no diff_id for it");
	if (!digest_equal(have, &l->diff_id))
		return error_set(err, 0,
			"the config's diff_id is not the digest of its %sbytes, %s",
			!strcmp(l->media_type, EROFS_MEDIA_TYPE) ? "" : "uncompressed ",
			digest_format(have, text));
	return erofs_layer_is_zstd(l, err) > 0 ? parts_content_digest(l, &annotated, err) : 0;
}

/* Of a compressed blob, the index comes first. The error names the blob. */
static int start_pass(struct pass *p, struct error **err)
{
	int zstd = erofs_layer_is_zstd(p->layer, err);

	p->buf = xmalloc(READ_SIZE);
	if (zstd <= 0)
		return zstd;
	p->map = image_range_map_open(p->blob->src, p->layer, err);
	if (!p->map)
		return -1;
	p->decoder = decoder_new();
	p->stored = xmalloc(range_map_largest_stored(p->map));
	p->content = xmalloc(range_map_largest(p->map));
	return 0;
}

static int read_blob(struct pass *p, struct error **err)
{
	p->stream = image_source_open_layer(p->blob->src, p->blob->layer, err);
	if (!p->stream)
		return -1;
	if (p->map && read_frames(p, err) < 0)
		return -1;
	return read_rest(p, !p->map, err);
}

/* Raw bytes are digested once: they are the content. */
static int check_blob(struct pass *p, struct error **err)
{
	const struct image_layer *l = p->layer;
	struct blob *b = p->blob;
	enum digest_algo algo = l->has_diff_id ? l->diff_id.algo : l->digest.algo;
	bool hash = p->map || algo != l->digest.algo;
	struct digest stored, content;

	p->digest = hasher_new(l->digest.algo);
	blob_content_start(&b->content, hash ? hasher_new(algo) : NULL);
	if (read_blob(p, err) < 0 || compare_size(p, err) < 0)
		return -1;
	blob_content_end(&b->content, &content);
	if (compare_digest(p, &stored, err) < 0)
		return -1;
	return b->n_bad ? 0 : compare_content(l, hash ? &content : &stored, err);
}

static void run_blob(struct job *job)
{
	/* the job comes first in the blob */
	struct blob *b = (struct blob *)job;
	CLEANUP(pass_free)
	struct pass p = { .blob = b, .layer = &b->src->layers[b->layer] };

	if (start_pass(&p, &b->fault) < 0)
		return;
	if (check_blob(&p, &b->fault) < 0)
		error_wrap(&b->fault, "%s", p.layer->name);
}

void blob_post(struct blob *blob, struct workers *w)
{
	blob->job.run = run_blob;
	workers_post(w, 0, &blob->job);
}

/* ---- what it found ---- */

static void report_fault(struct blob *blob, const struct bootstrap *b, struct faults *faults)
{
	CLEANUP_ERROR struct error *fault = take_ptr(blob->fault);
	CLEANUP_FREE char *users = NULL;

	if (!blob->content.is_device) {
		faults_add(faults, "%s, the bootstrap", fault->msg);
		return;
	}
	if (b)
		users = users_of_blocks(b, (unsigned)blob->layer + 1, 0, UINT32_MAX);
	if (users)
		faults_add(faults, "%s; with data in this blob: %s", fault->msg, users);
	else
		faults_take(faults, &fault);
}

static void report_frame(const struct blob *blob, const struct bad_frame *bad,
	const struct bootstrap *b, struct faults *faults)
{
	const char *name = blob->src->layers[blob->layer].name;
	uint64_t first = bad->offset / EROFS_BLOCK_SIZE;
	uint64_t end = (bad->offset + bad->size + EROFS_BLOCK_SIZE - 1) / EROFS_BLOCK_SIZE;
	CLEANUP_FREE char *users = NULL;

	if (!blob->content.is_device) {
		faults_add(faults, "%s, the bootstrap: %s", name, bad->fault->msg);
		return;
	}
	if (b)
		users = users_of_blocks(b, (unsigned)blob->layer + 1, first, end - first);
	faults_add(faults, "%s: %s%s%s", name, bad->fault->msg,
		users ? "; with data in this frame: " : "", users ? users : "");
}

void blob_report(struct blob *blob, const struct bootstrap *b, struct faults *faults)
{
	const char *name = blob->src->layers[blob->layer].name;

	if (blob->fault)
		report_fault(blob, b, faults);
	for (size_t i = 0; i < blob->n_bad && i < BAD_FRAMES_MAX; i++)
		report_frame(blob, &blob->bad[i], b, faults);
	if (blob->n_bad > BAD_FRAMES_MAX)
		faults_add(
			faults, "%s: %zu more frames are bad", name, blob->n_bad - BAD_FRAMES_MAX);
	blob_content_report(&blob->content, name, (unsigned)blob->layer + 1, b, faults);
}

void blob_free(struct blob *blob)
{
	for (size_t i = 0; i < blob->n_bad && i < BAD_FRAMES_MAX; i++)
		error_free(blob->bad[i].fault);
	blob_content_free(&blob->content);
	error_free(blob->fault);
}
