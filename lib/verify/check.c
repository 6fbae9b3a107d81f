// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/check.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/base/workers.h"
#include "lib/verify/parts.h"

#define READ_SIZE  262144u
#define MAX_FAULTS 100u /* of the tree: one fault often brings many others */

/* Take the error over as one more fault. */
static void add_fault(struct check_result *r, struct error **fault)
{
	struct error *e = take_ptr(*fault);

	r->faults = xgrow(r->faults, r->n_faults, &r->cap_faults, sizeof(*r->faults));
	r->faults[r->n_faults++] = take_ptr(e->msg);
	error_free(e);
}

/* One layer, read from end to end on a worker. */
struct blob {
	struct job job;
	struct image_source *src;
	size_t layer;
	uint8_t first[EROFS_BLOCK_SIZE];
	uint64_t size;
	struct error *fault;
	bool faulty; /* also once the fault has been taken over */
};

/* Bytes of the layer into the hashers; no more than one read past the descriptor's size. */
static int read_blob(
	struct blob *b, struct hasher *digest, struct hasher *diff_id, struct error **err)
{
	CLEANUP_STREAM struct stream *s = image_source_open_layer(b->src, b->layer, err);
	CLEANUP_FREE uint8_t *buf = xmalloc(READ_SIZE);
	ssize_t n;

	if (!s)
		return -1;
	while ((n = s->read(s, buf, READ_SIZE, err)) > 0) {
		if (b->size < sizeof(b->first)) {
			size_t room = sizeof(b->first) - b->size;

			memcpy(b->first + b->size, buf, (size_t)n < room ? (size_t)n : room);
		}
		b->size += (uint64_t)n;
		if (b->size > b->src->layers[b->layer].size)
			return 0;
		hasher_update(digest, buf, (size_t)n);
		if (diff_id)
			hasher_update(diff_id, buf, (size_t)n);
	}
	return n < 0 ? -1 : 0;
}

static int compare_digests(const struct image_layer *l, struct hasher *digest,
	struct hasher *diff_id, struct error **err)
{
	struct digest have, uncompressed;
	char text[DIGEST_MAX_STR];

	hasher_final(digest, &have);
	if (!digest_equal(&have, &l->digest))
		return error_set(
			err, 0, "its bytes have the digest %s", digest_format(&have, text));
	uncompressed = have;
	if (diff_id)
		hasher_final(diff_id, &uncompressed);
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
	CLEANUP_HASHER struct hasher *digest = hasher_new(l->digest.algo);
	CLEANUP_HASHER struct hasher *diff_id = NULL;

	if (l->has_diff_id && l->diff_id.algo != l->digest.algo)
		diff_id = hasher_new(l->diff_id.algo);
	if (read_blob(b, digest, diff_id, err) < 0)
		return -1;
	if (b->size != l->size)
		return error_set(err, 0, "it has %s than the %" PRIu64 " bytes of its descriptor",
			b->size < l->size ? "fewer" : "more", l->size);
	return compare_digests(l, digest, diff_id, err);
}

static void run_blob(struct job *job)
{
	/* the job comes first in the blob */
	struct blob *b = (struct blob *)job;

	if (check_blob(b, &b->fault) < 0)
		error_wrap(&b->fault, "%s", b->src->layers[b->layer].name);
}

/* Every layer, on as many threads as there are processors; a buffer each. */
static int check_blobs(struct blob *blobs, struct image_source *src, struct error **err)
{
	CLEANUP_WORKERS struct workers *w = NULL;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t n = cpus > 0 ? (size_t)cpus : 1;

	w = workers_start((unsigned)(n < src->n_layers ? n : src->n_layers), err);
	if (!w)
		return -1;
	for (size_t i = 0; i < src->n_layers; i++) {
		blobs[i] = (struct blob){ .job.run = run_blob, .src = src, .layer = i };
		workers_post(w, 0, &blobs[i].job);
	}
	workers_wait(w);
	return 0;
}

/* What only a device has: a constant first block, and a slot in the bootstrap's table. */
static void check_device(struct check_result *r, const struct bootstrap *b, unsigned i,
	const struct image_layer *l, const struct blob *blob)
{
	struct error *fault = NULL;
	uint8_t want[EROFS_BLOCK_SIZE];

	if (parts_check_device(b, i, l, &fault) < 0)
		add_fault(r, &fault);
	erofs_empty_image(want);
	if (!blob->faulty && memcmp(want, blob->first, sizeof(want)) != 0) {
		error_set(&fault, 0, "%s: its first block is not the empty EROFS image", l->name);
		add_fault(r, &fault);
	}
}

/* The walk over the tree. */
struct tree_check {
	struct check_result *r;
	const struct bootstrap *b;
	size_t n_faults;
	uint64_t *links; /* the NID of each name whose inode claims to have several */
	size_t n_links, cap_links;
};

static int check_links(
	struct tree_check *t, const struct bootstrap_entry *entry, struct error **err)
{
	const struct erofs_inode *i = &entry->inode->inode;

	if (S_ISDIR(i->mode)) /* the walk counts subdirectories */
		return 0;
	if (!i->nlink)
		return error_set(err, 0, "link count 0");
	if (entry->again && i->nlink == 1)
		return error_set(err, 0, "link count 1, but it has several names");
	if (i->nlink == 1)
		return 0;
	t->links = xgrow(t->links, t->n_links, &t->cap_links, sizeof(*t->links));
	t->links[t->n_links++] = entry->inode->nid;
	return 0;
}

static int check_special(
	const struct tree_check *t, const struct bootstrap_inode *i, struct error **err)
{
	char *target;

	if (i->inode.uid > EROFS_ID_MAX || i->inode.gid > EROFS_ID_MAX)
		return error_set(err, 0, "uid or gid 4294967295");
	if (!S_ISLNK(i->inode.mode))
		return 0;
	target = bootstrap_readlink(t->b, i, err);
	free(target);
	return target ? 0 : -1;
}

static int check_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	struct tree_check *t = arg;

	if (check_links(t, entry, err) < 0 || tree_sums_add(&t->r->tree, t->b, entry, err) < 0)
		return -1;
	if (entry->again)
		return 0;
	if (check_special(t, entry->inode, err) < 0)
		return -1;
	return bootstrap_xattrs(t->b, entry->inode, NULL, NULL, err);
}

static int take_tree_fault(void *arg, struct error **err)
{
	struct tree_check *t = arg;

	if (++t->n_faults > MAX_FAULTS)
		return error_wrap(err, "more than %u faults, not looking further", MAX_FAULTS);
	add_fault(t->r, err);
	return 0;
}

static int compare_nids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Names of one inode now stand together: are there as many as it claims? */
static void count_links(struct tree_check *t)
{
	struct bootstrap_inode inode;
	struct error *fault = NULL;
	size_t n;

	if (t->n_links)
		qsort(t->links, t->n_links, sizeof(*t->links), compare_nids);
	for (size_t i = 0; i < t->n_links; i += n) {
		for (n = 1; i + n < t->n_links && t->links[i + n] == t->links[i];)
			n++;
		if (bootstrap_inode(t->b, t->links[i], &inode, &fault) == 0 &&
			inode.inode.nlink != n)
			error_set(&fault, 0,
				"inode %" PRIu64 ": link count %" PRIu32 ", but %zu names",
				inode.nid, inode.inode.nlink, n);
		if (fault && take_tree_fault(t, &fault) < 0) {
			add_fault(t->r, &fault);
			return;
		}
	}
}

static void check_tree(struct check_result *r, const struct bootstrap *b)
{
	struct tree_check t = { .r = r, .b = b };
	const struct bootstrap_walker walker = { check_entry, take_tree_fault, &t };
	uint64_t claimed = bootstrap_super(b)->inodes;
	struct error *fault = NULL;

	if (bootstrap_walk(b, &walker, &fault) < 0) {
		t.n_faults++;
		add_fault(r, &fault);
	}
	/* sums over a tree with faults would only repeat them */
	if (!t.n_faults)
		count_links(&t);
	if (!t.n_faults && claimed != r->tree.inodes) {
		error_set(&fault, 0, "the superblock counts %" PRIu64 " inodes, the tree %" PRIu64,
			claimed, r->tree.inodes);
		add_fault(r, &fault);
	}
	free(t.links);
}

/* Every device against the table, then the tree. -1 when there is no reading on. */
static int check_structure(struct check_result *r, struct image_source *src,
	const struct erofs_found *found, const struct blob *blobs, struct error **err)
{
	CLEANUP_BOOTSTRAP struct bootstrap *b = NULL;

	for (size_t i = 0; i < found->n_devices; i++)
		if (parts_check_raw(found->devices[i], err) < 0)
			return -1;
	b = parts_open_bootstrap(src, found->bootstrap, err);
	if (!b || parts_check_count(b, found, err) < 0)
		return -1;
	for (unsigned i = 0; i < found->n_devices; i++)
		check_device(r, b, i, found->devices[i], &blobs[found->devices[i] - src->layers]);
	check_tree(r, b);
	return 0;
}

static void collect(struct check_result *r, struct image_source *src,
	const struct erofs_found *found, struct blob *blobs)
{
	bool bootstrap_is_whole = !blobs[found->bootstrap - src->layers].fault;
	struct error *fault = NULL;

	for (size_t i = 0; i < src->n_layers; i++) {
		r->bytes += blobs[i].size;
		blobs[i].faulty = blobs[i].fault;
		if (blobs[i].fault)
			add_fault(r, &blobs[i].fault);
	}
	/* nothing is said of a structure that was damaged after it was made */
	if (bootstrap_is_whole && check_structure(r, src, found, blobs, &fault) < 0)
		add_fault(r, &fault);
}

int check_image(struct check_result *r, struct image_source *src, struct error **err)
{
	CLEANUP(erofs_found_free) struct erofs_found found = { 0 };
	CLEANUP_FREE struct blob *blobs = xcalloc(src->n_layers, sizeof(*blobs));

	*r = (struct check_result){ .blobs = src->n_layers + 2 };
	if (erofs_image_find(&found, src, err) < 0 || check_blobs(blobs, src, err) < 0)
		return -1;
	collect(r, src, &found, blobs);
	return 0;
}

void check_result_free(struct check_result *r)
{
	for (size_t i = 0; i < r->n_faults; i++)
		free(r->faults[i]);
	free(r->faults);
	*r = (struct check_result){ 0 };
}
