// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/session.h"

#include <errno.h>
#include <inttypes.h>

#include "fmt/chunk_index.h"
#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/serve/engine/sources.h"
#include "lib/stream/spool.h"
#include "lib/verify/parts.h"

enum { FETCH_STEP = 64 * 1024 * 1024 }; /* bytes that are wanted at once to fetch all */

/* ---- the parts ---- */

/* Whoever serves lives long and is at home nowhere: "/" becomes its directory. */
static int make_absolute(struct image_source *image, struct error **err)
{
	char *path;

	if (image->ref.transport != TRANSPORT_OCI)
		return 0;
	path = realpath(image->ref.path, NULL);
	if (!path)
		return error_set(err, errno, "cannot look at %s", image->ref.path);
	free(image->ref.path);
	image->ref.path = path;
	return 0;
}

/* In a file of our own: it stays mapped, and a layout's file that is cut short would kill us. */
static int bootstrap_fd(struct image_source *image, const struct image_layer *l, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range range = FILE_RANGE_NONE;
	CLEANUP_STREAM struct stream *stream = NULL;
	int zstd = erofs_layer_is_zstd(l, err);
	uint64_t size;

	if (zstd < 0)
		return -1;
	if (zstd)
		return parts_bootstrap_fd(image, l, err);
	if (image_source_open_blob(image, &l->digest, &range, err) < 0)
		return error_wrap(err, "%s, the bootstrap", l->name);
	stream = stream_from_range(take_fd(&range.fd), range.offset, range.size, l->name);
	return stream_spool(stream, &size, err);
}

/* Of a raw device its descriptor says the size; of a compressed one we take the bootstrap's word,
 * which its chunk index must confirm when it is read. */
static int check_device(struct session *s, unsigned i, uint64_t *size, struct error **err)
{
	const struct image_layer *l = s->found.devices[i];
	struct erofs_device_slot slot;
	int zstd = erofs_layer_is_zstd(l, err);

	if (zstd < 0 || bootstrap_device(s->tree, i, &slot, err) < 0)
		return -1;
	*size = zstd ? (uint64_t)slot.blocks * EROFS_BLOCK_SIZE : l->size;
	return parts_check_device(s->tree, i, l, *size, err);
}

static int open_tree(struct session *s, struct error **err)
{
	const struct image_layer *l = s->found.bootstrap;
	CLEANUP_FREE uint64_t *sizes = xcalloc(s->found.n_devices + 1, sizeof(*sizes));
	CLEANUP_FD int fd = bootstrap_fd(s->image, l, err);

	if (fd < 0)
		return -1;
	s->tree = parts_open_verified(fd, l, err);
	if (!s->tree || parts_check_count(s->tree, &s->found, err) < 0)
		return -1;
	for (unsigned i = 0; i < s->found.n_devices; i++) {
		if (check_device(s, i, &sizes[i], err) < 0)
			return -1;
		s->devices[i] = (struct session_device){
			.session = s, .layer = s->found.devices[i], .size = sizes[i], .fd = -1
		};
	}
	if (parts_validate(fd, &s->found, sizes, err) < 0)
		return error_wrap(err, "%s, the bootstrap", l->name);
	return 0;
}

/* ---- devices ---- */

static int open_raw(struct session_device *d, struct error **err)
{
	const struct image_layer *l = d->layer;
	struct file_range r;

	if (image_source_open_blob(d->session->image, &l->digest, &r, err) < 0)
		return error_wrap(err, "%s", l->name);
	d->fd = r.fd;
	d->offset = r.offset;
	if (r.size == l->size)
		return 0;
	error_set(err, 0, "%s: it has %" PRIu64 " bytes, its descriptor says %" PRIu64, l->name,
		r.size, l->size);
	return error_hint(err, "copying the image again");
}

static int open_store(struct session *s, const char *dir, struct error **err)
{
	CLEANUP_FREE char *chosen = NULL;
	struct registry *registry = NULL;

	if (s->store)
		return 0;
	if (!dir)
		dir = chosen = store_default_dir(err);
	if (dir)
		s->store = store_open(dir, s->store_limit, err);
	if (!s->store)
		return -1;
	if (s->image->remote)
		registry = remote_registry(s->image->remote);
	s->source = registry ? source_registry_new(&registry, 1) : source_file_new(s->image);
	return 0;
}

/* How many frames: an index's size says it, before it is read. */
static int count_frames(const struct session_device *d, const struct erofs_index *index,
	uint32_t *n, struct error **err)
{
	uint64_t size = index->end - index->offset, frames;

	if (size < CHUNK_INDEX_SKIPPABLE + CHUNK_INDEX_HEADER ||
		size > CHUNK_INDEX_SKIPPABLE + (uint64_t)RANGE_MAP_BYTES_MAX)
		return error_set(err, 0, "%s: a chunk index cannot have %" PRIu64 " bytes",
			d->layer->name, size);
	size -= CHUNK_INDEX_SKIPPABLE + CHUNK_INDEX_HEADER;
	frames = size / CHUNK_INDEX_ENTRY;
	*n = (uint32_t)frames;
	if (size % CHUNK_INDEX_ENTRY)
		return error_set(err, 0, "%s: its chunk index has no whole number of entries",
			d->layer->name);
	return 0;
}

static int open_compressed(struct session_device *d, const char *store, struct error **err)
{
	struct store_spec spec = { .digest = d->layer->digest, .size = d->size };
	struct erofs_index index;

	if (erofs_layer_index(d->layer, &index, err) < 0 ||
		count_frames(d, &index, &spec.n_frames, err) < 0 ||
		open_store(d->session, store, err) < 0)
		return -1;
	spec.index = index.digest;
	d->cache = store_blob_open_now(d->session->store, &spec, err);
	return d->cache ? 0 : -1;
}

static int open_device(struct session_device *d, const char *store, struct error **err)
{
	int zstd = erofs_layer_is_zstd(d->layer, err);

	if (zstd < 0)
		return -1;
	return zstd ? open_compressed(d, store, err) : open_raw(d, err);
}

/* For the engine, on one of its threads. */
static struct range_map *read_index(void *arg, struct error **err)
{
	const struct session_device *d = arg;
	struct blob_source *source = d->session->source;
	CLEANUP_FREE uint8_t *frame = NULL;
	struct erofs_index index;
	struct fault fault;
	uint64_t size;

	if (erofs_layer_index(d->layer, &index, err) < 0)
		return NULL;
	size = index.end - index.offset - CHUNK_INDEX_SKIPPABLE;
	frame = xmalloc((size_t)size + CHUNK_INDEX_SKIPPABLE); /* count_frames() has bounded it */
	if (source->read(source, &d->layer->digest, index.offset, frame,
		    (size_t)size + CHUNK_INDEX_SKIPPABLE, err) < 0)
		return NULL;
	if (chunk_index_get_skippable(frame, size, &fault) < 0) {
		error_set(err, 0, "its chunk index: %s", fault.what);
		return NULL;
	}
	return range_map_new(xmemdup(frame + CHUNK_INDEX_SKIPPABLE, (size_t)size), (size_t)size,
		index.offset, d->size, &index.digest, err);
}

/* ---- the session ---- */

static int open_all(struct session *s, const char *store, struct error **err)
{
	if (make_absolute(s->image, err) < 0 || erofs_image_find(&s->found, s->image, err) < 0)
		return -1;
	s->devices = xcalloc(s->found.n_devices + 1, sizeof(*s->devices));
	if (open_tree(s, err) < 0)
		return -1;
	for (size_t i = 0; i < s->found.n_devices; i++)
		if (open_device(&s->devices[i], store, err) < 0)
			return -1;
	return 0;
}

struct session *session_open(
	struct image_source *image, const char *store, uint64_t store_limit, struct error **err)
{
	CLEANUP_SESSION struct session *s = xzalloc(sizeof(*s));

	s->image = image;
	s->store_limit = store_limit;
	if (open_all(s, store, err) == 0)
		return take_ptr(s);
	error_wrap(err, "%s", image->ref.spec);
	return NULL;
}

int session_start(struct session *s, struct error **err)
{
	if (!s->source)
		return 0;
	s->engine = engine_start(&ENGINE_OPTIONS_DEFAULT, err);
	if (!s->engine)
		return -1;
	for (size_t i = 0; i < s->found.n_devices; i++) {
		struct session_device *d = &s->devices[i];
		const struct served_blob_parts parts = { .cache = d->cache,
			.open_index = read_index,
			.arg = d,
			.source = s->source,
			.digest = d->layer->digest,
			.name = d->layer->name };

		if (!d->cache)
			continue;
		d->fd = store_blob_fd(d->cache);
		d->cache = NULL;
		d->blob = engine_add(s->engine, &parts);
	}
	return 0;
}

void session_prefetch(struct session *s)
{
	for (size_t i = 0; i < s->found.n_devices; i++)
		if (session_lacks(&s->devices[i]))
			engine_prefetch(s->devices[i].blob);
}

static int fetch_device(const struct session_device *d, struct error **err)
{
	for (uint64_t at = 0; session_lacks(d) && at < d->size; at += FETCH_STEP) {
		int code = engine_need(d->blob, at, FETCH_STEP);

		if (code)
			return error_set(err, code, "%s: cannot fetch it", d->layer->name);
		if (interrupt_pending())
			return error_set(err, 0, "interrupted");
	}
	return 0;
}

int session_fetch_all(struct session *s, struct error **err)
{
	for (size_t i = 0; i < s->found.n_devices; i++)
		if (fetch_device(&s->devices[i], err) < 0)
			return -1;
	return 0;
}

static void device_close(struct session_device *d)
{
	if (d->blob)
		engine_remove(d->blob);
	else if (d->cache)
		store_blob_close(d->cache);
	else if (d->fd >= 0)
		close(d->fd);
}

void session_close(struct session *s)
{
	if (!s)
		return;
	if (s->engine && s->image->remote) /* or a slow registry would be waited for */
		registry_cancel(remote_registry(s->image->remote));
	for (size_t i = 0; s->devices && i < s->found.n_devices; i++)
		if (s->devices[i].session)
			device_close(&s->devices[i]);
	engine_stop(s->engine);
	if (s->source)
		s->source->close(s->source);
	store_close(s->store);
	cleanup_bootstrap_(&s->tree);
	erofs_found_free(&s->found);
	free(s->devices);
	free(s);
}

int session_read(const struct session_device *d, uint64_t offset, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(
			d->fd, (char *)buf + done, len - done, (off_t)(d->offset + offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		done += (size_t)n;
	}
	return 0;
}
