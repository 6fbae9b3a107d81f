// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/blobs.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/image/erofs.h"
#include "lib/verify/users.h"

enum { READ_SIZE = 64 * EROFS_BLOCK_SIZE };

/* ---- the pass ---- */

struct pass {
	struct blob *blob;
	struct stream *stream;
	struct hasher *digest, *diff_id; /* diff_id: NULL when it is the same */
	size_t tail; /* the next one */
	uint8_t *buf;
	size_t fill;
};

static void pass_free(struct pass *p)
{
	cleanup_stream_(&p->stream);
	hasher_free(p->digest);
	hasher_free(p->diff_id);
	free(p->buf);
}

/* Whole blocks, as long as there are any. */
static int fill_buffer(struct pass *p, struct error **err)
{
	ssize_t n = 1;

	for (p->fill = 0; p->fill < READ_SIZE && n; p->fill += (size_t)n) {
		if (interrupt_pending())
			return error_set(err, 0, "interrupted");
		n = p->stream->read(p->stream, p->buf + p->fill, READ_SIZE - p->fill, err);
		if (n < 0)
			return -1;
	}
	return 0;
}

static void compare_first_block(struct blob *b, const uint8_t *have, size_t len)
{
	uint8_t want[EROFS_BLOCK_SIZE];

	erofs_empty_image(want);
	for (size_t i = 0; i < sizeof(want) && !b->first_differs; i++) {
		b->first_differs = i >= len || have[i] != want[i];
		b->first_at = (uint16_t)i;
	}
}

static void look_at_tail(struct blob *b, const struct tail *t, const uint8_t *block)
{
	for (unsigned i = t->used; i < EROFS_BLOCK_SIZE; i++) {
		if (!block[i])
			continue;
		if (b->n_bad < BAD_TAILS_MAX)
			b->bad[b->n_bad] = (struct bad_tail){ t, (uint16_t)i };
		b->n_bad++;
		return;
	}
}

/* Those in the buffer, whose bytes begin at `blk`. */
static void look_at_tails(struct pass *p, uint64_t blk)
{
	struct blob *b = p->blob;

	for (; p->tail < b->n_tails; p->tail++) {
		const struct tail *t = &b->tails[p->tail];
		uint64_t i = t->blk - blk;

		if ((i + 1) * EROFS_BLOCK_SIZE > p->fill)
			return;
		look_at_tail(b, t, p->buf + i * EROFS_BLOCK_SIZE);
	}
}

/* No more than one buffer past the descriptor's size. */
static int read_all(struct pass *p, struct error **err)
{
	struct blob *b = p->blob;

	do {
		if (fill_buffer(p, err) < 0)
			return -1;
		if (b->is_device && !b->size)
			compare_first_block(b, p->buf, p->fill);
		look_at_tails(p, b->size / EROFS_BLOCK_SIZE);
		b->size += p->fill;
		*b->done += p->fill;
		hasher_update(p->digest, p->buf, p->fill);
		if (p->diff_id)
			hasher_update(p->diff_id, p->buf, p->fill);
	} while (p->fill == READ_SIZE && b->size <= b->src->layers[b->layer].size);
	return 0;
}

static int compare_digests(const struct image_layer *l, struct pass *p, struct error **err)
{
	struct digest have, uncompressed;
	char text[DIGEST_MAX_STR];

	hasher_final(p->digest, &have);
	if (!digest_equal(&have, &l->digest))
		return error_set(
			err, 0, "its bytes have the digest %s", digest_format(&have, text));
	uncompressed = have;
	if (p->diff_id)
		hasher_final(p->diff_id, &uncompressed);
	if (!l->has_diff_id)
		return error_set(err, 0, "the config has no diff_id for it");
	/* raw: stored and uncompressed bytes are the same */
	if (!strcmp(l->media_type, EROFS_MEDIA_TYPE) && !digest_equal(&uncompressed, &l->diff_id))
		return error_set(err, 0, "the config's diff_id is not the digest of its bytes, %s",
			digest_format(&uncompressed, text));
	return 0;
}

static int check_blob(struct blob *b, struct error **err)
{
	const struct image_layer *l = &b->src->layers[b->layer];
	CLEANUP(pass_free) struct pass p = { .blob = b, .buf = xmalloc(READ_SIZE) };

	p.stream = image_source_open_layer(b->src, b->layer, err);
	if (!p.stream)
		return -1;
	p.digest = hasher_new(l->digest.algo);
	if (l->has_diff_id && l->diff_id.algo != l->digest.algo)
		p.diff_id = hasher_new(l->diff_id.algo);
	if (read_all(&p, err) < 0)
		return -1;
	if (b->size != l->size)
		return error_set(err, 0, "it has %s than the %" PRIu64 " bytes of its descriptor",
			b->size < l->size ? "fewer" : "more", l->size);
	return compare_digests(l, &p, err);
}

static void run_blob(struct job *job)
{
	/* the job comes first in the blob */
	struct blob *b = (struct blob *)job;

	if (check_blob(b, &b->fault) < 0)
		error_wrap(&b->fault, "%s", b->src->layers[b->layer].name);
}

void blob_post(struct blob *blob, struct workers *w)
{
	blob->job.run = run_blob;
	workers_post(w, 0, &blob->job);
}

/* ---- what it found ---- */

static void report_digest(struct blob *blob, const struct bootstrap *b, struct faults *faults)
{
	CLEANUP_ERROR struct error *fault = take_ptr(blob->fault);
	CLEANUP_FREE char *users = NULL;

	if (!blob->is_device) {
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

static void report_tail(const struct blob *blob, const struct bad_tail *bad,
	const struct bootstrap *b, struct faults *faults)
{
	CLEANUP_FREE char *users = users_of_blocks(b, (unsigned)blob->layer + 1, bad->tail->blk, 1);

	faults_add(faults,
		"%s: byte %" PRIu64 " is not zero, though it lies behind the end of a file: %s",
		blob->src->layers[blob->layer].name,
		(uint64_t)bad->tail->blk * EROFS_BLOCK_SIZE + bad->at, users);
}

void blob_report(struct blob *blob, const struct bootstrap *b, struct faults *faults)
{
	const char *name = blob->src->layers[blob->layer].name;

	if (blob->fault)
		report_digest(blob, b, faults);
	if (blob->first_differs)
		faults_add(faults, "%s: byte %u: its first block is not the empty EROFS image",
			name, blob->first_at);
	for (size_t i = 0; b && i < blob->n_bad && i < BAD_TAILS_MAX; i++)
		report_tail(blob, &blob->bad[i], b, faults);
	if (blob->n_bad > BAD_TAILS_MAX)
		faults_add(faults, "%s: %zu more files have bytes behind their end", name,
			blob->n_bad - BAD_TAILS_MAX);
}
