// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/uploader.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/workers.h"
#include "lib/registry/registry.h"
#include "lib/stream/spool.h"
#include "lib/stream/verify.h"

enum { UPLOADS = 4 };

struct upload {
	struct job job;
	struct upload *next;
	struct uploader *uploader;
	struct digest digest;
	uint64_t size;
	struct upload_bytes bytes;
	_Atomic uint64_t sent; /* what broke and is sent again counts again */
	bool ready; /* under the lock: its source has something to read */
	bool done; /* the same */
};

struct uploader {
	struct registry *registry;
	char **mount_from;
	size_t n_mount_from, cap;
	struct workers *workers; /* NULL until there is a blob */
	json_t *seen; /* digests */
	atomic_bool stopped;
	pthread_cond_t changed; /* `ready` or `stopped` */
	pthread_mutex_t lock; /* guards what follows */
	struct upload *uploads;
	struct upload_amount amount; /* without what is being sent */
	struct error *error; /* the first */
};

struct uploader *uploader_new(struct registry *registry)
{
	struct uploader *u = xzalloc(sizeof(*u));

	u->registry = registry;
	u->seen = json_object();
	pthread_mutex_init(&u->lock, NULL);
	pthread_cond_init(&u->changed, NULL);
	return u;
}

void uploader_mount_from(struct uploader *u, const char *repository)
{
	for (size_t i = 0; i < u->n_mount_from; i++)
		if (strcmp(u->mount_from[i], repository) == 0)
			return;
	u->mount_from = xgrow(u->mount_from, u->n_mount_from, &u->cap, sizeof(*u->mount_from));
	u->mount_from[u->n_mount_from++] = xstrdup(repository);
}

/* ---- one blob ---- */

static void bytes_free(struct upload_bytes *b)
{
	outfile_free(b->file);
	cleanup_file_range_(&b->range);
	remote_unref(b->remote);
	*b = (struct upload_bytes){ .range = FILE_RANGE_NONE };
}

/* Which of the ways has brought it there. */
enum way { FAILED = -1, PRESENT, MOUNTED, UPLOADED };

/* A registry may refuse to mount for many reasons; then the blob is sent, so none is an error. */
static bool mount_blob(struct upload *b, const char *from)
{
	CLEANUP_ERROR struct error *err = NULL;
	char digest[DIGEST_MAX_STR];
	int rc = registry_mount_blob(b->uploader->registry, &b->digest, from, &err);

	if (rc < 0)
		log_debug("blob %s is not mounted from %s: %s", digest_format(&b->digest, digest),
			from, err->msg);
	return rc == 1;
}

/* What is given up: the one that fails, and all others. With the lock held. */
static void stop(struct uploader *u)
{
	u->stopped = true;
	pthread_cond_broadcast(&u->changed);
	registry_cancel(u->registry);
}

/* A blob's source, given up with the uploader: it may be slow, or stall, and an error waits. */
struct source {
	struct stream stream;
	struct stream *in;
	struct upload *upload;
};

static void wake_source(void *arg)
{
	struct upload *b = arg;

	pthread_mutex_lock(&b->uploader->lock);
	b->ready = true;
	pthread_cond_broadcast(&b->uploader->changed);
	pthread_mutex_unlock(&b->uploader->lock);
}

static ssize_t source_read(struct stream *s, void *buf, size_t len, struct error **err)
{
	struct source *source = (struct source *)s;
	struct upload *b = source->upload;
	struct uploader *u = b->uploader;

	b->ready = false; /* nobody else is awaited */
	if (!stream_ready(source->in, wake_source, b)) {
		pthread_mutex_lock(&u->lock);
		while (!b->ready && !u->stopped)
			pthread_cond_wait(&u->changed, &u->lock);
		pthread_mutex_unlock(&u->lock);
	}
	if (u->stopped)
		return error_set(err, 0, "the upload was given up");
	return source->in->read(source->in, buf, len, err);
}

static void source_close(struct stream *s)
{
	struct source *source = (struct source *)s;

	source->in->close(source->in);
	free(source);
}

static struct stream *source_open(struct upload *b, struct error **err)
{
	struct stream *in = remote_open_stream(b->bytes.remote, &b->digest, b->size, err);
	struct source *source = in ? xzalloc(sizeof(*source)) : NULL;

	if (!source)
		return NULL;
	*source = (struct source){ { source_read, source_close, NULL }, in, b };
	return &source->stream;
}

/* Into a file, because what breaks is sent again, and its digest is verified before. */
static int fetch(struct upload *b, struct error **err)
{
	CLEANUP_STREAM struct stream *s = source_open(b, err);
	uint64_t size;

	if (!s)
		return -1;
	s = stream_verify(s, &b->digest, b->size);
	b->bytes.range.fd = stream_spool(s, &size, err);
	b->bytes.range.size = size;
	return b->bytes.range.fd < 0 ? -1 : 0;
}

static int send_blob(struct upload *b, struct error **err)
{
	struct registry *registry = b->uploader->registry;

	if (b->bytes.remote && fetch(b, err) < 0)
		return -1;
	if (b->bytes.file)
		return registry_put_blob(
			registry, &b->digest, outfile_fd(b->bytes.file), 0, b->size, &b->sent, err);
	return registry_put_blob(registry, &b->digest, b->bytes.range.fd, b->bytes.range.offset,
		b->size, &b->sent, err);
}

static enum way bring(struct upload *b, struct error **err)
{
	struct uploader *u = b->uploader;
	uint64_t size;
	int has = registry_has_blob(u->registry, &b->digest, &size, err);

	if (has < 0)
		return FAILED;
	if (has)
		return PRESENT;
	for (size_t i = 0; i < u->n_mount_from && !u->stopped; i++)
		if (mount_blob(b, u->mount_from[i]))
			return MOUNTED;
	if (interrupt_pending() || u->stopped)
		return error_set(err, 0, "interrupted");
	return send_blob(b, err) < 0 ? FAILED : UPLOADED;
}

static void count(struct uploader *u, struct upload *b, enum way way)
{
	b->done = true;
	u->amount.done += b->size;
	switch (way) {
	case PRESENT:
		u->amount.present++;
		break;
	case MOUNTED:
		u->amount.mounted++;
		break;
	default:
		u->amount.uploaded++;
		u->amount.uploaded_bytes += b->size;
	}
}

static void run_upload(struct job *job)
{
	struct upload *b = (struct upload *)((char *)job - offsetof(struct upload, job));
	struct uploader *u = b->uploader;
	struct error *e = NULL;
	char digest[DIGEST_MAX_STR];
	enum way way = FAILED;

	if (!u->stopped)
		way = bring(b, &e);
	bytes_free(&b->bytes);
	pthread_mutex_lock(&u->lock);
	if (way != FAILED) {
		count(u, b, way);
	} else if (e && !u->error) {
		error_wrap(&e, "blob %s", digest_format(&b->digest, digest));
		u->error = take_ptr(e);
		stop(u);
	}
	pthread_mutex_unlock(&u->lock);
	error_free(e);
}

/* ---- all of them ---- */

static int take_error(struct uploader *u, struct error **err)
{
	pthread_mutex_lock(&u->lock);
	*err = take_ptr(u->error);
	pthread_mutex_unlock(&u->lock);
	if (*err)
		return -1;
	return u->stopped ? error_set(err, 0, "the upload was given up") : 0;
}

static bool is_new(struct uploader *u, const struct digest *digest)
{
	char text[DIGEST_MAX_STR];

	digest_format(digest, text);
	if (json_object_get(u->seen, text))
		return false;
	json_object_set_new(u->seen, text, json_true());
	return true;
}

static void post(
	struct uploader *u, const struct digest *digest, uint64_t size, struct upload_bytes *bytes)
{
	struct upload *b = xzalloc(sizeof(*b));

	b->job.run = run_upload;
	b->uploader = u;
	b->digest = *digest;
	b->size = size;
	b->bytes = *bytes;
	*bytes = (struct upload_bytes){ .range = FILE_RANGE_NONE };
	pthread_mutex_lock(&u->lock);
	b->next = u->uploads;
	u->uploads = b;
	u->amount.total += size;
	pthread_mutex_unlock(&u->lock);
	workers_post(u->workers, 0, &b->job);
}

int uploader_add(struct uploader *u, const struct digest *digest, uint64_t size,
	struct upload_bytes bytes, struct error **err)
{
	CLEANUP(bytes_free) struct upload_bytes mine = bytes;

	if (u->stopped)
		return take_error(u, err);
	if (!u->workers)
		u->workers = workers_start(UPLOADS, err);
	if (!u->workers)
		return -1;
	if (is_new(u, digest))
		post(u, digest, size, &mine);
	return 0;
}

int uploader_wait(struct uploader *u, struct error **err)
{
	if (u->workers)
		workers_wait(u->workers);
	return take_error(u, err);
}

void uploader_amount(struct uploader *u, struct upload_amount *amount)
{
	pthread_mutex_lock(&u->lock);
	*amount = u->amount;
	for (const struct upload *b = u->uploads; b; b = b->next)
		if (!b->done)
			amount->done += b->sent < b->size ? b->sent : b->size;
	pthread_mutex_unlock(&u->lock);
}

void uploader_free(struct uploader *u)
{
	if (!u)
		return;
	pthread_mutex_lock(&u->lock);
	stop(u);
	pthread_mutex_unlock(&u->lock);
	workers_stop(u->workers);
	for (struct upload *b = u->uploads, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	for (size_t i = 0; i < u->n_mount_from; i++)
		free(u->mount_from[i]);
	free(u->mount_from);
	json_decref(u->seen);
	error_free(u->error);
	pthread_cond_destroy(&u->changed);
	pthread_mutex_destroy(&u->lock);
	free(u);
}
