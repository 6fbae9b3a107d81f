// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/unpack/unpacking.h"

#include <errno.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/walk.h"
#include "lib/image/device.h"
#include "lib/image/parts.h"
#include "lib/stream/verify.h"

#define READ_SIZE 262144u
#define SLICE	  16 /* reads, before others get their turn */

/* One data blob while its digest is verified. */
struct blob_check {
	struct job job;
	struct unpacking *u;
	const struct image_layer *layer;
	struct stream *stream;
};

void unpacking_fail(struct unpacking *u, struct error *e)
{
	pthread_mutex_lock(&u->lock);
	if (u->error)
		error_free(e);
	else
		u->error = e;
	pthread_mutex_unlock(&u->lock);
	atomic_store(&u->failed, true);
}

bool unpacking_stopped(const struct unpacking *u)
{
	return atomic_load(&u->failed) || interrupt_pending();
}

static int read_slice(struct stream *s, struct error **err)
{
	CLEANUP_FREE uint8_t *buf = xmalloc(READ_SIZE);
	ssize_t n = 1;

	for (int i = 0; i < SLICE && n > 0; i++)
		n = s->read(s, buf, READ_SIZE, err);
	return n < 0 ? -1 : n > 0;
}

static void run_check(struct job *job)
{
	/* the job comes first in the check */
	struct blob_check *c = (struct blob_check *)job;
	struct error *e = NULL;
	int more;

	if (unpacking_stopped(c->u))
		return;
	more = read_slice(c->stream, &e);
	if (more > 0) {
		workers_post(c->u->workers, UNPACK_VERIFYING, &c->job);
	} else if (more < 0) {
		error_wrap(&e, "%s", c->layer->name);
		error_hint(&e, "copying the image again: the blob is damaged");
		unpacking_fail(c->u, e);
	}
}

/* Of raw blobs: a compressed one is verified frame by frame, as it is read. */
static int start_checks(struct unpacking *u, struct error **err)
{
	for (size_t i = 0; i < u->found.n_devices; i++) {
		const struct image_layer *l = u->found.devices[i];
		struct blob_check *c = &u->checks[i];
		struct stream *s;

		if (erofs_layer_is_zstd(l, err))
			continue;
		s = image_source_open_layer(u->src, (size_t)(l - u->src->layers), err);
		if (!s)
			return -1;
		*c = (struct blob_check){ .job.run = run_check, .u = u, .layer = l };
		c->stream = stream_verify(s, &l->digest, l->size);
		workers_post(u->workers, UNPACK_VERIFYING, &c->job);
	}
	return 0;
}

static int sum_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	struct unpacking *u = arg;

	if (interrupt_pending())
		return error_set(err, 0, "interrupted");
	if (entry->again && entry->inode->inode.nlink < 2)
		return error_set(err, 0, "link count 1, but it has several names");
	return tree_sums_add(&u->result->tree, u->bootstrap, entry, err);
}

/* From here on it is known to be a tree. */
static int check_tree(struct unpacking *u, struct error **err)
{
	const struct bootstrap_walker walker = { .each = sum_entry, .arg = u };

	if (bootstrap_walk(u->bootstrap, &walker, err) == 0)
		return 0;
	return error_wrap(err, "%s", u->found.bootstrap->name);
}

static int open_devices(struct unpacking *u, struct error **err)
{
	if (parts_check_count(u->bootstrap, &u->found, err) < 0)
		return -1;
	u->cache = frame_cache_new(2 * u->options->jobs + 2);
	u->devices = xcalloc(u->found.n_devices, sizeof(struct device *));
	u->checks = xcalloc(u->found.n_devices, sizeof(*u->checks));
	for (size_t i = 0; i < u->found.n_devices; i++) {
		const struct image_layer *l = u->found.devices[i];

		u->devices[i] = image_device_open(u->src, l, u->cache, err);
		if (!u->devices[i] || parts_check_device(u->bootstrap, (unsigned)i, l,
					      device_size(u->devices[i]), err) < 0)
			return -1;
	}
	return 0;
}

static int open_image(struct unpacking *u, struct error **err)
{
	if (erofs_image_find(&u->found, u->src, err) < 0)
		return -1;
	u->bootstrap = parts_open_bootstrap(u->src, u->found.bootstrap, err);
	if (!u->bootstrap || open_devices(u, err) < 0 || check_tree(u, err) < 0)
		return error_wrap(err, "%s", u->src->ref.spec);
	u->content = (struct content){ u->bootstrap, u->devices };
	return 0;
}

static uint64_t bytes_done(void *arg)
{
	return atomic_load(&((struct unpacking *)arg)->bytes);
}

int unpacking_start(struct unpacking *u, struct error **err)
{
	*u->result = (struct unpack_result){ 0 };
	pthread_mutex_init(&u->lock, NULL);
	if (open_image(u, err) < 0)
		return -1;
	u->workers = workers_start(u->options->jobs, err);
	if (!u->workers || start_checks(u, err) < 0)
		return -1;
	u->progress = progress_start(
		u->options->progress, "unpacking", u->result->tree.mapped_bytes, bytes_done, u);
	return 0;
}

int unpacking_wait(struct unpacking *u, struct error **err)
{
	workers_wait(u->workers);
	if (interrupt_pending())
		return error_set(err, 0, "interrupted; nothing is left of it");
	if (!u->error)
		return 0;
	*err = take_ptr(u->error);
	return -1;
}

void unpacking_end(struct unpacking *u)
{
	atomic_store(&u->failed, true); /* what still runs may stop */
	workers_stop(u->workers);
	progress_stop(u->progress);
	for (size_t i = 0; u->checks && i < u->found.n_devices; i++) {
		device_close(u->devices[i]);
		if (u->checks[i].stream)
			u->checks[i].stream->close(u->checks[i].stream);
	}
	free(u->checks);
	free(u->devices);
	frame_cache_free(u->cache);
	if (u->bootstrap)
		bootstrap_close(u->bootstrap);
	erofs_found_free(&u->found);
	error_free(u->error);
	pthread_mutex_destroy(&u->lock);
}

int unpacking_write_error(struct error **err, int code, const char *where)
{
	error_set(err, code, "cannot write");
	if (code == ENOSPC || code == EDQUOT)
		return error_hint(
			err, "free space on the filesystem of %s, or unpack elsewhere", where);
	return -1;
}
