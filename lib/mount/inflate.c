// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/inflate.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/base/workers.h"
#include "lib/blob/decoder.h"
#include "lib/image/device.h"
#include "lib/image/erofs.h"

enum { SYNC_EVERY = 64 * 1024 * 1024 }; /* bytes between two syncs: what a crash may cost */

struct inflation {
	struct store_blob *blob;
	struct range_map *map;
	struct file_range stored;
	const char *name;
	_Atomic uint32_t next; /* frame */
	_Atomic uint64_t done; /* bytes of the device */
	_Atomic uint64_t unsynced;
	atomic_bool failed;
	pthread_mutex_t lock;
	struct error *error; /* the first */
};

/* One thread's part: frames as they come, with buffers of its own. */
struct inflater {
	struct job job;
	struct inflation *inflation;
};

static void fail(struct inflation *in, struct error *e)
{
	pthread_mutex_lock(&in->lock);
	if (in->error)
		error_free(e);
	else
		in->error = e;
	pthread_mutex_unlock(&in->lock);
	atomic_store(&in->failed, true);
}

static int inflate_frame(struct inflation *in, const struct frame *f, struct decoder *d,
	uint8_t *stored, uint8_t *content, struct error **err)
{
	const struct file_range where = {
		.fd = in->stored.fd,
		.offset = in->stored.offset + f->stored_offset,
		.size = f->stored_size,
	};

	if (file_range_read(&where, stored, in->name, err) < 0)
		return -1;
	if (frame_verify(f, stored, err) == 0 && decoder_decode(d, f, stored, content, err) == 0)
		return store_blob_write(in->blob, f->number, f->offset, content, f->size, err);
	error_wrap(err, "%s: frame %" PRIu32, in->name, f->number);
	return error_hint(err, "copying the image again: the blob is damaged");
}

/* Now and then what is there is brought to the disk, by whoever comes to it. */
static int count(struct inflation *in, uint32_t size, struct error **err)
{
	uint64_t unsynced = atomic_fetch_add(&in->unsynced, size) + size;

	in->done += size;
	if (unsynced < SYNC_EVERY || !atomic_compare_exchange_strong(&in->unsynced, &unsynced, 0))
		return 0;
	return store_blob_sync(in->blob, err);
}

static int inflate_frames(struct inflation *in, struct error **err)
{
	CLEANUP_FREE uint8_t *stored = xmalloc(range_map_largest_stored(in->map));
	CLEANUP_FREE uint8_t *content = xmalloc(range_map_largest(in->map));
	CLEANUP_DECODER struct decoder *decoder = decoder_new();
	uint32_t n = range_map_n_frames(in->map), i;

	while ((i = atomic_fetch_add(&in->next, 1)) < n) {
		struct frame f = range_map_frame(in->map, i);

		if (interrupt_pending())
			return error_set(err, 0, "interrupted; nothing has been mounted");
		if (atomic_load(&in->failed))
			return 0;
		if (!store_blob_has(in->blob, i) &&
			inflate_frame(in, &f, decoder, stored, content, err) < 0)
			return -1;
		if (count(in, f.size, err) < 0)
			return -1;
	}
	return 0;
}

static void run_inflater(struct job *job)
{
	struct inflation *in = ((struct inflater *)job)->inflation;
	struct error *e = NULL;

	if (inflate_frames(in, &e) < 0)
		fail(in, e);
}

static uint64_t bytes_done(void *arg)
{
	return ((struct inflation *)arg)->done;
}

static int run_all(struct inflation *in, const struct inflate_options *o, struct error **err)
{
	CLEANUP_FREE struct inflater *inflaters = xcalloc(o->jobs, sizeof(*inflaters));
	CLEANUP_WORKERS struct workers *workers = workers_start(o->jobs, err);
	struct progress *progress;

	if (!workers)
		return -1;
	progress = progress_start(
		o->progress, "inflating", range_map_device_size(in->map), bytes_done, in);
	for (unsigned i = 0; i < o->jobs; i++) {
		inflaters[i] = (struct inflater){ { .run = run_inflater }, in };
		workers_post(workers, 0, &inflaters[i].job);
	}
	workers_wait(workers);
	progress_stop(progress);
	if (in->error) {
		*err = take_ptr(in->error);
		return -1;
	}
	return store_blob_sync(in->blob, err);
}

static uint64_t missing_bytes(const struct inflation *in)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < range_map_n_frames(in->map); i++)
		if (!store_blob_has(in->blob, i))
			bytes += range_map_frame(in->map, i).size;
	return bytes;
}

static int fill(struct inflation *in, struct image_source *src, const struct image_layer *l,
	const struct inflate_options *o, struct error **err)
{
	if (store_blob_is_complete(in->blob))
		return 0;
	if (image_source_open_blob(src, &l->digest, &in->stored, err) < 0)
		return error_wrap(err, "%s", l->name);
	if (store_blob_reserve(in->blob, missing_bytes(in), err) < 0)
		return -1;
	return run_all(in, o, err);
}

static void inflation_end(struct inflation *in)
{
	store_blob_close(in->blob);
	range_map_free(in->map);
	cleanup_file_range_(&in->stored);
	error_free(in->error);
	pthread_mutex_destroy(&in->lock);
}

struct store_blob *inflate_blob(struct store *store, struct image_source *src,
	const struct image_layer *l, const struct inflate_options *o, struct error **err)
{
	CLEANUP(inflation_end)
	struct inflation in = { .name = l->name, .stored = FILE_RANGE_NONE };
	struct store_spec spec = { .digest = l->digest };
	struct erofs_index index;

	pthread_mutex_init(&in.lock, NULL);
	if (erofs_layer_index(l, &index, err) < 0)
		return NULL;
	in.map = image_range_map_open(src, l, err);
	if (!in.map)
		return NULL;
	erofs_index_name(&index, &spec.index);
	spec.size = range_map_device_size(in.map);
	spec.n_frames = range_map_n_frames(in.map);
	in.blob = store_blob_open(store, &spec, err);
	if (!in.blob || fill(&in, src, l, o, err) < 0)
		return NULL;
	return take_ptr(in.blob);
}
