// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/check.h"

#include <string.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/base/workers.h"
#include "lib/image/device.h"
#include "lib/image/parts.h"
#include "lib/verify/against.h"
#include "lib/verify/blobs.h"
#include "lib/verify/documents.h"
#include "lib/verify/structure.h"

struct check {
	struct check_result *r;
	struct image_source *src;
	const struct check_options *options;
	struct erofs_found found;
	struct workers *workers;
	_Atomic uint64_t done; /* bytes, for the progress */
	struct bootstrap *b; /* NULL when it cannot be opened, */
	struct error *unopened; /* and why; the pass over its blob may know better */
	struct structure structure;
	struct blob *blobs; /* one for each layer */
	uint64_t *sizes; /* of the devices, uncompressed; 0: not known */
	bool sizes_known; /* all of them */
	/* the source's layers, read on a worker */
	struct job source_job;
	struct source_tree source;
	struct error *source_error;
};

/* ---- the source ---- */

static void read_source(struct job *job)
{
	struct check *c = (struct check *)((char *)job - offsetof(struct check, source_job));

	source_tree_read(&c->source, c->options->against, &c->done, &c->source_error);
}

static uint64_t bytes_done(void *arg)
{
	return ((struct check *)arg)->done;
}

static int compare_trees(struct check *c, struct device **devices, struct error **err)
{
	const struct against against = {
		.b = c->b,
		.devices = devices,
		.n_devices = c->found.n_devices,
		.source = &c->source,
		.workers = c->workers,
		.done = &c->done,
	};
	struct progress *progress;
	int rc;

	c->done = 0;
	progress = progress_start(
		c->options->progress, "comparing", c->structure.sums.mapped_bytes, bytes_done, c);
	rc = against_compare(&against, &c->r->differences, err);
	progress_stop(progress);
	return rc;
}

/* Blobs that cannot be read were told of already: their files will be, too. */
static int compare(struct check *c, struct error **err)
{
	size_t n = c->found.n_devices;
	CLEANUP_FRAME_CACHE struct frame_cache *cache = frame_cache_new(2 * c->options->jobs + 2);
	CLEANUP_FREE struct device **devices = xcalloc(n ? n : 1, sizeof(*devices));
	int rc;

	if (c->source_error) {
		*err = take_ptr(c->source_error);
		return -1;
	}
	if (!c->b)
		return 0;
	c->r->compared = true;
	documents_compare(c->src, c->options->against, &c->r->differences);
	for (size_t i = 0; i < n; i++) {
		CLEANUP_ERROR struct error *told = NULL;

		devices[i] = image_device_open(c->src, c->found.devices[i], cache, &told);
	}
	rc = compare_trees(c, devices, err);
	for (size_t i = 0; i < n; i++)
		device_close(devices[i]);
	return rc;
}

/* ---- the image ---- */

/* Faults of a chunk index are told by the pass over its blob. */
static void find_sizes(struct check *c)
{
	c->sizes = xcalloc(c->found.n_devices, sizeof(*c->sizes));
	c->sizes_known = true;
	for (size_t i = 0; i < c->found.n_devices; i++) {
		CLEANUP_ERROR struct error *told = NULL;

		if (image_device_size(c->src, c->found.devices[i], &c->sizes[i], &told) == 0)
			continue;
		c->sizes[i] = 0;
		c->sizes_known = false;
	}
}

static int open_bootstrap(struct check *c, struct error **err)
{
	for (size_t i = 0; i < c->found.n_devices; i++)
		if (erofs_layer_is_zstd(c->found.devices[i], err) < 0)
			return -1;
	return parts_bootstrap_fd(c->src, c->found.bootstrap, err);
}

static void check_devices(struct check *c)
{
	struct error *fault = NULL;

	if (parts_check_count(c->b, &c->found, &fault) < 0) {
		faults_take(&c->r->faults, &fault);
		return;
	}
	for (unsigned i = 0; i < c->found.n_devices; i++) {
		const struct image_layer *l = c->found.devices[i];

		if (c->sizes[i] && parts_check_device(c->b, i, l, c->sizes[i], &fault) < 0)
			faults_take(&c->r->faults, &fault);
	}
}

/* A link count without a path, which the walk finds, too, and with one. */
static bool is_better_told(const struct error *fault, const struct faults *tree)
{
	return tree->total && !strncmp(fault->msg, "inode ", 6);
}

static void walk(struct check *c, struct error **told)
{
	CLEANUP(faults_free) struct faults tree = { 0 };

	check_devices(c);
	structure_check(&c->structure, c->b, *told ? (*told)->msg : NULL, &tree);
	c->r->tree = c->structure.sums;
	if (*told && !is_better_told(*told, &tree)) {
		error_wrap(told, "%s, the bootstrap", c->found.bootstrap->name);
		faults_take(&c->r->faults, told);
	}
	faults_move(&c->r->faults, &tree);
}

/*
 * Also when the bootstrap is not the one of its digest: the structure may show where. It is
 * mapped here and hashed with the other blobs, from the same pages. The validator ends at the
 * first fault; the walk behind it finds what else cannot be read, and sums up.
 */
static void check_bootstrap(struct check *c)
{
	CLEANUP_ERROR struct error *fault = NULL, *repeated = NULL;
	CLEANUP_FD int fd = open_bootstrap(c, &fault);

	if (fd >= 0) {
		if (c->sizes_known)
			parts_validate(fd, &c->found, c->sizes, &fault);
		c->b = bootstrap_open(fd, &repeated);
	}
	if (c->b) {
		walk(c, &fault);
		return;
	}
	if (fd < 0) {
		c->unopened = take_ptr(fault);
		return;
	}
	fault = fault ? fault : take_ptr(repeated); /* the validator says more of where */
	error_wrap(&fault, "%s, the bootstrap", c->found.bootstrap->name);
	faults_take(&c->r->faults, &fault);
}

static void post_blobs(struct check *c)
{
	for (size_t i = 0; i < c->src->n_layers; i++) {
		struct blob *blob = &c->blobs[i];

		*blob = (struct blob){
			.src = c->src,
			.layer = i,
			.content.is_device = &c->src->layers[i] != c->found.bootstrap,
			.done = &c->done,
		};
		if (blob->content.is_device)
			blob->content.n_tails = structure_tails(
				&c->structure, (unsigned)i + 1, &blob->content.tails);
		blob_post(blob, c->workers);
	}
}

static uint64_t total_bytes(const struct image_source *src)
{
	uint64_t total = 0;

	for (size_t i = 0; src && i < src->n_layers; i++)
		total += src->layers[i].size;
	return total;
}

static int check_parts(struct check *c, struct error **err)
{
	struct progress *progress = progress_start(c->options->progress, "checking",
		total_bytes(c->src) + total_bytes(c->options->against), bytes_done, c);

	if (c->options->against) {
		c->source_job.run = read_source;
		workers_post(c->workers, 0, &c->source_job);
	}
	documents_check(c->src, &c->r->faults);
	find_sizes(c);
	check_bootstrap(c);
	post_blobs(c);
	workers_wait(c->workers);
	progress_stop(progress);
	if (interrupt_pending())
		return error_set(err, 0, "interrupted");
	for (size_t i = 0; i < c->src->n_layers; i++) {
		c->r->bytes += c->blobs[i].size;
		if (c->unopened && !c->blobs[i].content.is_device && !blob_is_bad(&c->blobs[i]))
			faults_take(&c->r->faults, &c->unopened);
		blob_report(&c->blobs[i], c->b, &c->r->faults);
	}
	return 0;
}

static void finish(struct check *c)
{
	workers_stop(c->workers);
	for (size_t i = 0; i < c->src->n_layers; i++)
		blob_free(&c->blobs[i]);
	free(c->blobs);
	free(c->sizes);
	cleanup_bootstrap_(&c->b);
	structure_free(&c->structure);
	if (c->options->against)
		source_tree_free(&c->source);
	error_free(c->source_error);
	error_free(c->unopened);
	erofs_found_free(&c->found);
}

int check_image(struct check_result *r, struct image_source *src,
	const struct check_options *options, struct error **err)
{
	CLEANUP(finish) struct check c = { .r = r, .src = src, .options = options };

	*r = (struct check_result){ .blobs = src->n_layers + 2 };
	c.blobs = xcalloc(src->n_layers, sizeof(*c.blobs));
	if (options->against)
		source_tree_init(&c.source);
	if (erofs_image_find(&c.found, src, err) < 0)
		return -1;
	c.workers = workers_start(options->jobs, err);
	if (!c.workers || check_parts(&c, err) < 0)
		return -1;
	return options->against ? compare(&c, err) : 0;
}

void check_result_free(struct check_result *r)
{
	faults_free(&r->faults);
	faults_free(&r->differences);
}
