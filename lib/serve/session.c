// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/session.h"

#include <errno.h>
#include <inttypes.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/image/parts.h"
#include "lib/serve/engine/sources.h"
#include "lib/store/io.h"
#include "lib/stream/spool.h"

enum { FETCH_STEP = 64 * 1024 * 1024 }; /* bytes that are wanted at once to fetch all */

/* ---- the bootstrap ---- */

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

static int check_devices(struct session *s, uint64_t *sizes, struct error **err)
{
	if (parts_check_count(s->tree, &s->found, err) < 0)
		return -1;
	for (unsigned i = 0; i < s->found.n_devices; i++) {
		if (check_device(s, i, &sizes[i], err) < 0)
			return -1;
		s->devices[i] = (struct session_device){
			.session = s, .layer = s->found.devices[i], .size = sizes[i], .fd = -1
		};
	}
	return 0;
}

static int open_tree(struct session *s, struct error **err)
{
	const struct image_layer *l = s->found.bootstrap;
	bool known = s->bootstrap_fd >= 0;
	CLEANUP_FREE uint64_t *sizes = xcalloc(s->found.n_devices + 1, sizeof(*sizes));

	if (!known)
		s->bootstrap_fd = bootstrap_fd(s->image, l, err);
	if (s->bootstrap_fd < 0)
		return -1;
	s->tree = parts_open_verified(s->bootstrap_fd, l, err);
	if (!s->tree || check_devices(s, sizes, err) < 0)
		return -1;
	if (!known && parts_validate(s->bootstrap_fd, &s->found, sizes, err) < 0)
		return error_wrap(err, "%s, the bootstrap", l->name);
	return 0;
}

/* ---- devices ---- */

static int open_store(struct session *s, const struct session_options *o, struct error **err)
{
	CLEANUP_FREE char *chosen = NULL;
	const char *dir = o->store;
	struct store *store;

	if (s->blobs)
		return 0;
	if (!dir)
		dir = chosen = store_default_dir(err);
	store = dir ? store_open(dir, o->store_limit, err) : NULL;
	if (!store)
		return -1;
	s->blobs = s->own_blobs = blob_set_new(store, false);
	return 0;
}

static struct blob_source *own_source(struct session *s)
{
	if (!s->source) {
		s->source = s->image->remote
				    ? source_registry_new(remote_registry(s->image->remote))
				    : source_file_new(s->image);
		s->own_source = true;
	}
	return s->source;
}

static int open_compressed(
	struct session_device *d, const struct session_options *o, struct error **err)
{
	struct session *s = d->session;

	if (open_store(s, o, err) < 0)
		return -1;
	d->blob = blob_set_use(s->blobs, d->layer, d->size, own_source(s), err);
	if (!d->blob)
		return -1;
	d->fd = d->blob->fd;
	return 0;
}

/* Of a layout: where it lies. */
static int open_here(struct session_device *d, struct error **err)
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

static int open_raw(struct session_device *d, const struct session_options *o, struct error **err)
{
	if (!d->session->image->remote && !o->remote)
		return open_here(d, err);
	if (open_store(d->session, o, err) < 0)
		return -1;
	d->whole = store_whole_blob(
		blob_set_store(d->session->blobs), d->session->image, d->layer, err);
	if (!d->whole)
		return -1;
	d->fd = store_blob_fd(d->whole);
	return 0;
}

static int open_devices(struct session *s, const struct session_options *o, struct error **err)
{
	for (size_t i = 0; i < s->found.n_devices; i++) {
		struct session_device *d = &s->devices[i];
		int zstd = erofs_layer_is_zstd(d->layer, err);

		if (zstd < 0)
			return -1;
		if ((zstd ? open_compressed(d, o, err) : open_raw(d, o, err)) < 0)
			return -1;
	}
	return 0;
}

static void device_close(struct session_device *d)
{
	if (d->blob)
		blob_set_drop(d->blob, d->session->source);
	else if (d->whole)
		store_blob_close(d->whole);
	else if (d->fd >= 0)
		close(d->fd);
}

/* ---- the session ---- */

static int open_all(struct session *s, const struct session_options *o, struct error **err)
{
	if (make_absolute(s->image, err) < 0 || erofs_image_find(&s->found, s->image, err) < 0)
		return -1;
	s->devices = xcalloc(s->found.n_devices + 1, sizeof(*s->devices));
	if (open_tree(s, err) < 0)
		return -1;
	return open_devices(s, o, err);
}

struct session *session_open(
	struct image_source *image, const struct session_options *o, struct error **err)
{
	CLEANUP_SESSION struct session *s = xzalloc(sizeof(*s));

	s->image = image;
	s->blobs = o->blobs;
	s->source = o->source;
	s->bootstrap_fd = o->bootstrap_fd;
	if (open_all(s, o, err) == 0)
		return take_ptr(s);
	error_wrap(err, "%s", image->ref.spec);
	return NULL;
}

int session_start(struct session *s, struct error **err)
{
	return s->own_blobs ? blob_set_start(s->own_blobs, err) : 0;
}

void session_prefetch(struct session *s)
{
	for (size_t i = 0; i < s->found.n_devices; i++)
		if (session_lacks(&s->devices[i]))
			engine_prefetch(s->devices[i].blob->served);
}

static int cannot_fetch(const struct session_device *d, int code, struct error **err)
{
	if (code != ENOSPC)
		return error_set(err, code, "%s: cannot fetch it", d->layer->name);
	error_set(err, code,
		"%s: cannot fetch it: the store's limit or its disk is too small for all of it",
		d->layer->name);
	return error_hint(err,
		"a larger --store-limit or disk, `erofs-convert store prune`, or --prefetch "
		"background");
}

static int fetch_device(
	const struct session_device *d, const _Atomic bool *gone, struct error **err)
{
	for (uint64_t at = 0; session_lacks(d) && at < d->size; at += FETCH_STEP) {
		int code = engine_need(d->blob->served, at, FETCH_STEP);

		if (code)
			return cannot_fetch(d, code, err);
		if (interrupt_pending() || (gone && *gone))
			return error_set(err, 0, "interrupted");
	}
	return 0;
}

int session_fetch_all(struct session *s, const _Atomic bool *gone, struct error **err)
{
	for (size_t i = 0; i < s->found.n_devices; i++)
		if (fetch_device(&s->devices[i], gone, err) < 0)
			return -1;
	return 0;
}

void session_forget_tree(struct session *s)
{
	cleanup_bootstrap_(&s->tree);
	s->tree = NULL;
	cleanup_fd_(&s->bootstrap_fd);
}

void session_close(struct session *s)
{
	if (!s)
		return;
	if (s->own_blobs && s->image->remote) /* or a slow registry would be waited for */
		registry_cancel(remote_registry(s->image->remote));
	/* all are answered before the first of the files that they are answered from is closed */
	if (s->own_blobs)
		blob_set_end(s->own_blobs);
	for (size_t i = 0; s->devices && i < s->found.n_devices; i++)
		if (s->devices[i].session)
			device_close(&s->devices[i]);
	blob_set_free(s->own_blobs);
	if (s->own_source)
		s->source->close(s->source);
	session_forget_tree(s);
	erofs_found_free(&s->found);
	free(s->devices);
	free(s);
}

int session_read(const struct session_device *d, uint64_t offset, void *buf, size_t len)
{
	return io_read(d->fd, buf, len, d->offset + offset) < 0 ? errno : 0;
}
