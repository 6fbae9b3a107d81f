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

#include "fmt/erofs.h"
#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/blob/compress.h"
#include "lib/bootstrap/bootstrap.h"
#include "lib/convert/merge.h"
#include "lib/convert/reader.h"
#include "lib/image/erofs.h"
#include "lib/image/original.h"
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
	struct reader **readers; /* by layer; NULL until begun; set under the lock */
	_Atomic uint64_t compressed; /* bytes read of all layers */
	atomic_bool unread; /* a layer's bytes, as stored, could not be read or are not its own */
	_Atomic size_t current; /* the layer that is merged now */
	atomic_bool stopped;
	struct erofs_layer *devices; /* by number, once their blobs are complete */
	uint32_t *device_blocks; /* of each */
	pthread_mutex_t dest_lock; /* of the destination, while the merge runs */
	pthread_mutex_t lock; /* guards what follows */
	size_t n_begun;
	struct error *error; /* the first */
	size_t error_layer; /* n_layers when it belongs to none */
};

/* ---- failing ---- */

static void failed(void *arg, struct reader *r, struct error *e)
{
	struct conversion *c = arg;

	atomic_store(&c->stopped, true);
	pthread_mutex_lock(&c->lock);
	if (c->error) {
		error_free(e);
	} else {
		c->error = e;
		c->error_layer = r ? reader_layer(r) : c->src->n_layers;
	}
	for (size_t i = 0; i < c->n_begun; i++)
		if (c->readers[i])
			reader_nudge(c->readers[i]);
	pthread_mutex_unlock(&c->lock);
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
	s = stream_decompress(stream_meter(s, &c->compressed, &c->unread));
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
	pthread_mutex_lock(&c->lock);
	c->readers[i] = r;
	pthread_mutex_unlock(&c->lock);
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

/* What the destination and the manifest are told of a blob. */
static struct erofs_layer new_layer(const struct blob_result *r)
{
	struct erofs_layer l = {
		.digest = r->digest,
		.diff_id = r->diff_id,
		.size = r->size,
		.zstd = r->zstd,
	};

	if (r->zstd)
		l.index = (struct erofs_index){
			.offset = r->index_offset, .end = r->index_end, .digest = r->index_digest
		};
	return l;
}

/* The destination may send a blob while later layers are converted. */
static void blob_finished(void *arg, struct blob_writer *w, unsigned device)
{
	struct conversion *c = arg;
	struct blob_result r;
	struct outfile *file = blob_writer_take(w, &r);
	struct error *e = NULL;

	c->devices[device] = new_layer(&r);
	c->device_blocks[device] = r.blocks;
	pthread_mutex_lock(&c->dest_lock);
	if (image_dest_add_blob(c->dest, file, &r.digest, r.size, &e) < 0)
		failed(c, NULL, e);
	pthread_mutex_unlock(&c->dest_lock);
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

	if (c->unread) /* that is what went wrong */
		return;
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

static unsigned max_frames(const struct conversion *c)
{
	return 2 * c->options->jobs + 2;
}

static int merge_layers(struct conversion *c, struct error **err)
{
	const struct merge_ops ops = {
		.workers = c->workers,
		.pool = c->pool,
		.new_file = new_file,
		.layer_begun = layer_begun,
		.blob_finished = blob_finished,
		.failed = failed,
		.stopped = stopped,
		.arg = c,
	};
	struct progress *progress;

	c->merge = merge_new(&ops, &c->tree, &c->secret, c->src->n_layers, &c->options->rules,
		&c->options->format, max_frames(c));
	progress = progress_start(
		c->options->progress, "converting", total_bytes(c->src), bytes_read, c);
	for (int i = 0; i < 1 + LAYERS_AHEAD; i++)
		begin_next_reader(c);
	workers_wait(c->workers);
	progress_stop(progress);
	return outcome(c, err);
}

/* ---- the result ---- */

static void list_devices(struct conversion *c, struct erofs_image *image,
	struct bootstrap_device *devices, struct convert_result *result)
{
	const struct merge_blob *blobs = merge_blobs(c->merge, &image->n_devices);

	for (size_t i = 0; i < image->n_devices; i++) {
		struct erofs_layer *l = &image->devices[i];

		l->source_layer = blobs[i].layer;
		devices[i] = (struct bootstrap_device){ l->digest, c->device_blocks[i] };
		result->data_bytes += l->size;
		/* the constant first block is nobody's data */
		result->unique_bytes += (uint64_t)(c->device_blocks[i] - 1) * EROFS_BLOCK_SIZE;
	}
	result->devices += image->n_devices;
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

static int write_bootstrap(struct conversion *c, const struct erofs_image *image,
	const struct bootstrap_device *devices, struct outfile *file, struct bootstrap_result *r,
	struct error **err)
{
	CLEANUP_FREE char *id = identity(c, image);
	const struct bootstrap_input in = {
		.tree = &c->tree,
		.devices = devices,
		.n_devices = image->n_devices,
		.identity = id,
	};

	return bootstrap_write(&in, file, r, err);
}

/* The bootstrap is stored as the data blobs are. */
static struct outfile *store_bootstrap(struct conversion *c, struct outfile *raw,
	const struct bootstrap_result *r, struct erofs_layer *layer, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *file = raw, *compressed = NULL;
	struct blob_result blob;

	if (!c->options->format.zstd) {
		*layer = (struct erofs_layer){
			.digest = r->digest, .diff_id = r->digest, .size = r->size
		};
		return take_ptr(file);
	}
	compressed = image_dest_new_blob(c->dest, err);
	if (!compressed)
		return NULL;
	compressed = blob_compress(c->workers, &c->options->format, max_frames(c), outfile_fd(file),
		r->size, take_ptr(compressed), &blob, err);
	if (!compressed)
		return NULL;
	*layer = new_layer(&blob);
	return take_ptr(compressed);
}

static int add_bootstrap(struct conversion *c, struct erofs_image *image,
	const struct bootstrap_device *devices, struct convert_result *result, struct error **err)
{
	CLEANUP_OUTFILE struct outfile *file = image_dest_new_blob(c->dest, err);
	struct erofs_layer *layer = &image->bootstrap;
	struct bootstrap_result r;

	if (!file || write_bootstrap(c, image, devices, file, &r, err) < 0)
		return -1;
	file = store_bootstrap(c, take_ptr(file), &r, layer, err);
	if (!file)
		return -1;
	result->bootstrap_bytes += layer->size;
	result->inodes += r.inodes;
	result->compact_inodes += r.compact_inodes;
	result->chunk_indexes += r.chunk_indexes;
	return image_dest_add_blob(c->dest, take_ptr(file), &layer->digest, layer->size, err);
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
	CLEANUP_FREE struct bootstrap_device *devices = xcalloc(c->src->n_layers, sizeof(*devices));
	struct erofs_image image = {
		.devices = c->devices,
		.with_subject = c->options->subject,
	};

	result->layer_bytes += merge_bytes(c->merge);
	list_devices(c, &image, devices, result);
	if (add_bootstrap(c, &image, devices, result, err) < 0)
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
	pthread_mutex_init(&c->dest_lock, NULL);
	batches = batches < BATCHES_MIN ? BATCHES_MIN : batches;
	c->pool = batch_pool_new(batches < BATCHES_MAX ? batches : BATCHES_MAX);
	c->readers = xcalloc(c->src->n_layers, sizeof(*c->readers));
	c->devices = xcalloc(c->src->n_layers, sizeof(*c->devices));
	c->device_blocks = xcalloc(c->src->n_layers, sizeof(*c->device_blocks));
	if (dedupe_secret_new(&c->secret, err) < 0)
		return -1;
	c->workers = workers_start(c->options->jobs, err);
	return c->workers ? 0 : -1;
}

static void finish(struct conversion *c)
{
	if (c->workers)
		workers_wait(c->workers);
	for (size_t i = 0; i < c->src->n_layers; i++)
		reader_free(c->readers[i]);
	workers_stop(c->workers); /* a stream may wake its reader until it is closed */
	merge_free(c->merge);
	batch_pool_free(c->pool);
	free(c->readers);
	free(c->devices);
	free(c->device_blocks);
	tree_free(&c->tree);
	error_free(c->error);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->dest_lock);
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

/* What would be found out at the end. */
static int check_source(
	const struct image_source *src, const struct convert_options *options, struct error **err)
{
	if (options->keep_original && original_check(src, "--keep-original", err) < 0)
		return -1;
	if (options->subject && original_check(src, "--subject", err) < 0)
		return -1;
	return check_types(src, err);
}

int convert_image(struct image_source *src, struct image_dest *dest,
	const struct convert_options *options, struct convert_result *result, struct error **err)
{
	*result = (struct convert_result){ 0 };
	if (options->keep_original)
		return convert_all(
			&(struct image_list){ .v = &src, .n = 1 }, dest, options, result, err);
	if (check_source(src, options, err) < 0)
		return -1;
	return convert_layers(src, dest, NULL, options, result, err);
}

/* One of several. Its original stands before it: who does not know os.features takes the first. */
static int convert_next(struct image_source *src, struct image_dest *dest, json_t *manifests,
	const struct convert_options *options, struct convert_result *result, struct error **err)
{
	if (options->keep_original && original_add(src, dest, manifests, err) < 0)
		return -1;
	return convert_layers(src, dest, manifests, options, result, err);
}

int convert_all(const struct image_list *list, struct image_dest *dest,
	const struct convert_options *options, struct convert_result *result, struct error **err)
{
	json_auto_t *manifests = json_array();

	*result = (struct convert_result){ 0 };
	for (size_t i = 0; i < list->n; i++)
		if (check_source(list->v[i], options, err) < 0)
			return -1;
	for (size_t i = 0; i < list->n; i++)
		if (convert_next(list->v[i], dest, manifests, options, result, err) < 0)
			return error_wrap(err, "%s", list->v[i]->platform_text);
	for (size_t i = 0; i < list->n && options->keep_original; i++)
		if (original_add_attestations(list->v[i], dest, manifests, err) < 0)
			return -1;
	return erofs_index_commit(manifests, dest, &result->manifest, err);
}
