// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The conversion, to be read first. Layers are read ahead (reader.c) on worker threads, merged
 * strictly in order (merge.c) into one tree and one data blob for each layer with new data;
 * then the tree is written as the bootstrap, and the image committed as a whole.
 */
#include "config.h"

#include "lib/convert/convert.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/bootstrap.h"
#include "lib/convert/merge.h"
#include "lib/convert/reader.h"
#include "lib/image/erofs.h"
#include "lib/stream/decompress.h"
#include "lib/stream/meter.h"
#include "lib/stream/verify.h"

enum {
	BATCHES_PER_JOB = 4 * 1024 * 1024 / BATCH_SIZE,
	BATCHES_MIN = 2 * BATCHES_PER_JOB,
	BATCHES_MAX = 8 * BATCHES_PER_JOB, /* 32 MiB are read ahead at the most */
	LAYERS_AHEAD = 2, /* begun besides the one that is merged */
};

struct conversion {
	struct image_source *src;
	struct image_dest *dest;
	const struct convert_options *options;
	struct dedupe_secret secret;
	struct tree tree;
	struct workers *workers;
	struct batch_pool *pool;
	struct merge *merge;
	struct reader **readers; /* by layer; NULL until begun */
	_Atomic uint64_t compressed; /* bytes read of all layers */
	_Atomic size_t current; /* the layer that is merged now */
	atomic_bool stopped;
	pthread_mutex_t lock; /* guards what follows */
	size_t n_begun;
	struct error *error; /* the first */
	size_t error_layer; /* n_layers when it belongs to none */
};

/* ---- failing ---- */

static void failed(void *arg, struct reader *r, struct error *e)
{
	struct conversion *c = arg;

	pthread_mutex_lock(&c->lock);
	if (c->error) {
		error_free(e);
	} else {
		c->error = e;
		c->error_layer = r ? reader_layer(r) : c->src->n_layers;
	}
	pthread_mutex_unlock(&c->lock);
	atomic_store(&c->stopped, true);
}

static bool stopped(void *arg)
{
	struct conversion *c = arg;

	return atomic_load(&c->stopped) || interrupt_pending();
}

/* ---- readers ---- */

/* The layer's bytes as stored, verified when they end. */
static struct stream *open_layer(struct conversion *c, size_t i, struct error **err)
{
	const struct image_layer *layer = &c->src->layers[i];
	struct stream *s = image_source_open_layer(c->src, i, err);

	if (s && layer->has_digest)
		s = stream_verify(s, &layer->digest, layer->size);
	return s;
}

static void scanned(void *arg, struct batch *b)
{
	merge_take(((struct conversion *)arg)->merge, b);
}

static bool urgent(void *arg, const struct reader *r)
{
	return reader_layer(r) == ((struct conversion *)arg)->current;
}

static void begin_next_reader(struct conversion *c);

static void read_ended(void *arg, struct reader *r)
{
	begin_next_reader(arg);
}

static struct reader *new_reader(struct conversion *c, size_t i, struct error **err)
{
	const struct image_layer *layer = &c->src->layers[i];
	const struct reader_ops ops = {
		.workers = c->workers,
		.pool = c->pool,
		.secret = &c->secret,
		.scanned = scanned,
		.read_ended = read_ended,
		.urgent = urgent,
		.failed = failed,
		.stopped = stopped,
		.arg = c,
	};
	struct stream *s = open_layer(c, i, err);

	if (!s) {
		error_wrap(err, "%s", layer->name);
		return NULL;
	}
	s = stream_decompress(stream_meter(s, &c->compressed));
	return reader_new(&ops, i, layer->name, s, layer->has_diff_id ? &layer->diff_id : NULL);
}

/* A reader for the next layer that has none; on any thread. */
static void begin_next_reader(struct conversion *c)
{
	struct error *e = NULL;
	struct reader *r;
	size_t i;

	pthread_mutex_lock(&c->lock);
	i = c->n_begun < c->src->n_layers ? c->n_begun++ : c->src->n_layers;
	pthread_mutex_unlock(&c->lock);
	if (i == c->src->n_layers || stopped(c))
		return;
	r = new_reader(c, i, &e);
	if (!r) {
		failed(c, NULL, e);
		return;
	}
	c->readers[i] = r;
	reader_start(r);
}

/* ---- the merge of all layers ---- */

static struct outfile *new_file(void *arg, struct error **err)
{
	return image_dest_new_blob(((struct conversion *)arg)->dest, err);
}

static void layer_begun(void *arg, size_t layer)
{
	struct conversion *c = arg;

	c->current = layer;
	batch_pool_nudge(c->pool);
}

static uint64_t bytes_read(void *arg)
{
	return ((struct conversion *)arg)->compressed;
}

static uint64_t total_bytes(const struct image_source *src)
{
	uint64_t total = 0;

	for (size_t i = 0; i < src->n_layers; i++)
		total += src->layers[i].size;
	return total;
}

/*
 * What went wrong in a layer may be no fault of its maker: where its blob is not what the
 * manifest says, that is the better answer.
 */
static void blame(struct conversion *c)
{
	CLEANUP_STREAM struct stream *s = NULL;
	struct error *e = NULL;
	uint8_t buf[64 * 1024];
	ssize_t n = 1;

	if (c->error_layer == c->src->n_layers || !c->src->layers[c->error_layer].has_digest)
		return;
	s = open_layer(c, c->error_layer, &e);
	while (s && n > 0 && !interrupt_pending())
		n = s->read(s, buf, sizeof(buf), &e);
	if (!e)
		return;
	error_free(c->error);
	c->error = e;
	error_wrap(&c->error, "%s", c->src->layers[c->error_layer].name);
	error_hint(&c->error, "fetching the source image again");
}

static int outcome(struct conversion *c, struct error **err)
{
	if (interrupt_pending())
		return error_set(err, 0, "interrupted; nothing has been written");
	if (!c->error && merge_is_complete(c->merge))
		return 0;
	if (!c->error)
		return error_set(err, 0, "internal error: not all layers have been merged");
	blame(c);
	*err = take_ptr(c->error);
	return -1;
}

static int merge_layers(struct conversion *c, struct error **err)
{
	const struct merge_ops ops = {
		.workers = c->workers,
		.pool = c->pool,
		.new_file = new_file,
		.layer_begun = layer_begun,
		.failed = failed,
		.stopped = stopped,
		.arg = c,
	};
	struct progress *progress;

	c->merge = merge_new(&ops, &c->tree, &c->secret, c->src->n_layers, &c->options->rules,
		2 * c->options->jobs + 2);
	progress = progress_start(
		c->options->progress, "converting", total_bytes(c->src), bytes_read, c);
	for (int i = 0; i < 1 + LAYERS_AHEAD; i++)
		begin_next_reader(c);
	workers_wait(c->workers);
	progress_stop(progress);
	return outcome(c, err);
}

/* ---- the result ---- */

static int add_blobs(struct conversion *c, struct erofs_image *image,
	struct bootstrap_device *devices, struct convert_result *result, struct error **err)
{
	struct merge_blob *blobs = merge_blobs(c->merge, &image->n_devices);

	for (size_t i = 0; i < image->n_devices; i++) {
		struct blob_result r;
		struct outfile *file = blob_writer_close(take_ptr(blobs[i].writer), &r);

		image->devices[i] = (struct erofs_layer){
			.digest = r.digest,
			.diff_id = r.digest,
			.size = r.size,
			.source_layer = blobs[i].layer,
		};
		devices[i] = (struct bootstrap_device){ r.digest, r.blocks };
		result->data_bytes += r.size;
		if (image_dest_add_blob(c->dest, file, &r.digest, r.size, err) < 0)
			return -1;
	}
	result->devices += image->n_devices;
	return 0;
}

/* What the image is made of, as text: its layers' contents and its blobs. */
static char *identity(const struct conversion *c, const struct erofs_image *image)
{
	char *text = xzalloc((c->src->n_layers + image->n_devices + 1) * (DIGEST_MAX_STR + 1));
	char *at = text;

	for (size_t i = 0; i < c->src->n_layers; i++) {
		digest_format(reader_diff_id(c->readers[i]), at);
		at += strlen(at);
		*at++ = '\n';
	}
	for (size_t i = 0; i < image->n_devices; i++) {
		digest_format(&image->devices[i].digest, at);
		at += strlen(at);
		*at++ = '\n';
	}
	return text;
}

static int add_bootstrap(struct conversion *c, struct erofs_image *image,
	const struct bootstrap_device *devices, struct convert_result *result, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *file = image_dest_new_blob(c->dest, err);
	CLEANUP_FREE char *id = identity(c, image);
	const struct bootstrap_input in = {
		.tree = &c->tree,
		.devices = devices,
		.n_devices = image->n_devices,
		.identity = id,
	};
	struct bootstrap_result r;

	if (!file || bootstrap_write(&in, file, &r, err) < 0)
		return -1;
	image->bootstrap = (struct erofs_layer){
		.digest = r.digest,
		.diff_id = r.digest,
		.size = r.size,
	};
	result->bootstrap_bytes += r.size;
	result->inodes += r.inodes;
	result->compact_inodes += r.compact_inodes;
	result->chunk_indexes += r.chunk_indexes;
	return image_dest_add_blob(c->dest, take_ptr(file), &r.digest, r.size, err);
}

/* The image is committed alone or, with `manifests`, added as one of an index to come. */
static int add_image(struct conversion *c, const struct erofs_image *image, json_t *manifests,
	struct convert_result *result, struct error **err)
{
	json_t *descriptor;

	if (!manifests)
		return erofs_image_commit(image, c->src, c->dest, &result->manifest, err);
	descriptor = erofs_image_add(image, c->src, c->dest, err);
	return descriptor ? json_array_append_new(manifests, descriptor) : -1;
}

static int finish_image(
	struct conversion *c, json_t *manifests, struct convert_result *result, struct error **err)
{
	size_t n = c->src->n_layers;
	CLEANUP_FREE struct erofs_layer *layers = xcalloc(n, sizeof(*layers));
	CLEANUP_FREE struct bootstrap_device *devices = xcalloc(n, sizeof(*devices));
	struct erofs_image image = { .devices = layers };

	result->layer_bytes += merge_bytes(c->merge);
	if (add_blobs(c, &image, devices, result, err) < 0 ||
		add_bootstrap(c, &image, devices, result, err) < 0)
		return -1;
	if (interrupt_pending())
		return error_set(err, 0, "interrupted; nothing has been written");
	return add_image(c, &image, manifests, result, err);
}

static int start(struct conversion *c, struct error **err)
{
	unsigned batches = c->options->jobs * BATCHES_PER_JOB;

	tree_init(&c->tree);
	pthread_mutex_init(&c->lock, NULL);
	batches = batches < BATCHES_MIN ? BATCHES_MIN : batches;
	c->pool = batch_pool_new(batches < BATCHES_MAX ? batches : BATCHES_MAX);
	c->readers = xcalloc(c->src->n_layers, sizeof(*c->readers));
	if (dedupe_secret_new(&c->secret, err) < 0)
		return -1;
	c->workers = workers_start(c->options->jobs, err);
	return c->workers ? 0 : -1;
}

static void finish(struct conversion *c)
{
	workers_stop(c->workers);
	for (size_t i = 0; i < c->src->n_layers; i++)
		reader_free(c->readers[i]);
	merge_free(c->merge);
	batch_pool_free(c->pool);
	free(c->readers);
	tree_free(&c->tree);
	error_free(c->error);
	pthread_mutex_destroy(&c->lock);
	explicit_bzero(&c->secret, sizeof(c->secret));
}

static int convert_layers(struct image_source *src, struct image_dest *dest, json_t *manifests,
	const struct convert_options *options, struct convert_result *result, struct error **err)
{
	CLEANUP(finish) struct conversion c = { .src = src, .dest = dest, .options = options };

	if (start(&c, err) < 0 || merge_layers(&c, err) < 0)
		return -1;
	return finish_image(&c, manifests, result, err);
}

/* An EROFS image begins with zeros: as a tar it would be a good one, and empty. */
static int check_types(const struct image_source *src, struct error **err)
{
	for (size_t i = 0; i < src->n_layers; i++) {
		const struct image_layer *layer = &src->layers[i];

		if (strncmp(layer->media_type, EROFS_MEDIA_TYPE, strlen(EROFS_MEDIA_TYPE)) == 0)
			return error_set(err, 0,
				"%s: %s is an EROFS image; there is no tar to convert",
				src->ref.spec, layer->name);
	}
	return 0;
}

int convert_image(struct image_source *src, struct image_dest *dest,
	const struct convert_options *options, struct convert_result *result, struct error **err)
{
	*result = (struct convert_result){ 0 };
	if (check_types(src, err) < 0)
		return -1;
	return convert_layers(src, dest, NULL, options, result, err);
}

int convert_all(const struct image_list *list, struct image_dest *dest,
	const struct convert_options *options, struct convert_result *result, struct error **err)
{
	json_auto_t *manifests = json_array();

	*result = (struct convert_result){ 0 };
	for (size_t i = 0; i < list->n; i++)
		if (check_types(list->v[i], err) < 0)
			return -1;
	for (size_t i = 0; i < list->n; i++)
		if (convert_layers(list->v[i], dest, manifests, options, result, err) < 0)
			return error_wrap(err, "%s", list->v[i]->platform_text);
	return erofs_index_commit(manifests, dest, &result->manifest, err);
}
