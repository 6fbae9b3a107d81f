// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/thread.h"
#include "lib/image/json.h"
#include "lib/image/layout.h"
#include "lib/registry/registry.h"
#include "lib/stream/spool.h"
#include "lib/stream/verify.h"

/*
 * What a layer's stream fetches ahead: enough for a connection that is fast and far away (2.5 MB
 * are under way at 50 MB/s and 50 ms); three layers are read at once.
 */
#define LAYER_AHEAD (6u << 20)

#define EXPECTED_MAX (64u << 20) /* more is fetched when its size has been judged */

/* A blob that has been fetched, or is being fetched. */
struct spooled {
	struct spooled *next;
	struct digest digest;
	int fd; /* -1: some thread is about it */
	uint64_t size;
};

/* A blob that is fetched before it is asked for. */
struct expected {
	struct remote *remote;
	struct digest digest;
	uint64_t size;
	struct spooled *claimed;
	pthread_t thread;
	struct error *error; /* why it has failed: for who asks next */
};

struct remote {
	_Atomic unsigned references;
	struct registry *registry;
	char *tag; /* NULL: by digest */
	bool by_digest;
	struct digest digest;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	struct registry_document top; /* what the reference names; bytes NULL: not asked yet */
	struct spooled *spooled;
	struct expected *expected; /* remote_expect_blob(); of who opens the image */
};

struct remote *remote_open(const struct image_ref *ref, struct error **err)
{
	const struct registry_options defaults = REGISTRY_OPTIONS_DEFAULT;
	CLEANUP_REMOTE struct remote *r = xzalloc(sizeof(*r));

	r->references = 1;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	r->tag = ref->tag ? xstrdup(ref->tag) : NULL;
	r->by_digest = ref->digest != NULL;
	if (r->by_digest && digest_parse(&r->digest, ref->digest, err) < 0)
		return NULL;
	r->registry = registry_open(ref->host, ref->repository, REGISTRY_PULL,
		ref->registry ? ref->registry : &defaults, err);
	if (!r->registry)
		return NULL;
	if (ref->registry && ref->registry->hurry)
		registry_warm(r->registry);
	return take_ptr(r);
}

struct remote *remote_ref(struct remote *r)
{
	r->references++;
	return r;
}

struct registry *remote_registry(const struct remote *r)
{
	return r->registry;
}

static void spooled_free(struct spooled *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

static void forget_expected(struct remote *r)
{
	if (!r->expected)
		return;
	registry_cancel(r->registry);
	registry_await_no_more(r->registry);
	pthread_join(r->expected->thread, NULL);
	error_free(r->expected->error);
	free(r->expected);
	r->expected = NULL;
}

void remote_unref(struct remote *r)
{
	if (!r || --r->references)
		return;
	forget_expected(r);
	for (struct spooled *s = r->spooled, *next; s; s = next) {
		next = s->next;
		spooled_free(s);
	}
	registry_document_free(&r->top);
	registry_close(r->registry);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r->tag);
	free(r);
}

/* ---- documents ---- */

/*
 * The type that the registry states. Some state none, or a general one: then the document's own,
 * or what its members make of it (as containers/image does: manifest.GuessMIMEType).
 */
static const char *type_of(const struct registry_document *d, const json_t *object)
{
	const char *own = json_string_value(json_object_get(object, "mediaType"));

	if (d->media_type && strchr(d->media_type, '+'))
		return d->media_type;
	if (own)
		return own;
	return json_object_get(object, "manifests") ? MEDIA_TYPE_OCI_INDEX
						    : MEDIA_TYPE_OCI_MANIFEST;
}

static json_t *list_top(const struct registry_document *d, struct error **err)
{
	json_auto_t *object = object_parse(d->bytes, d->size, err);
	char digest[DIGEST_MAX_STR];
	json_t *index;

	digest_format(&d->digest, digest);
	if (!object) {
		error_wrap(err, "manifest %s", digest);
		return NULL;
	}
	index = json_pack("{s:[{s:s, s:s, s:I}]}", "manifests", "mediaType", type_of(d, object),
		"digest", digest, "size", (json_int_t)d->size);
	if (!index) /* not UTF-8 */
		error_set(err, 0, "manifest %s: its media type is not one", digest);
	return index;
}

json_t *remote_read_index(struct remote *r, struct error **err)
{
	json_t *index = NULL;

	pthread_mutex_lock(&r->lock);
	if (r->top.bytes || registry_get_manifest(r->registry, r->tag,
				    r->by_digest ? &r->digest : NULL, &r->top, err) == 0)
		index = list_top(&r->top, err);
	pthread_mutex_unlock(&r->lock);
	return index;
}

static char *copy_top(struct remote *r, const struct descriptor *d)
{
	char *bytes = NULL;

	pthread_mutex_lock(&r->lock);
	if (r->top.bytes && digest_equal(&r->top.digest, &d->digest) && r->top.size == d->size) {
		bytes = xzalloc(d->size + 1);
		memcpy(bytes, r->top.bytes, d->size);
	}
	pthread_mutex_unlock(&r->lock);
	return bytes;
}

static char *read_manifest(struct remote *r, const struct descriptor *d, struct error **err)
{
	CLEANUP_REGISTRY_DOCUMENT struct registry_document doc = { 0 };

	if (registry_get_manifest(r->registry, NULL, &d->digest, &doc, err) < 0)
		return NULL;
	if (doc.size == d->size)
		return take_ptr(doc.bytes);
	error_set(err, 0, "it has %zu bytes, but its descriptor says %llu", doc.size,
		(unsigned long long)d->size);
	return NULL;
}

/* A config: a small blob, which may be asked for again. */
static char *read_blob(struct remote *r, const struct descriptor *d, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range range = FILE_RANGE_NONE;
	CLEANUP_FREE char *bytes = xzalloc(d->size + 1);

	if (remote_open_blob(r, &d->digest, d->size, &range, err) < 0 ||
		file_range_read(&range, bytes, "config", err) < 0)
		return NULL;
	return take_ptr(bytes);
}

char *remote_read_bytes(struct remote *r, const struct descriptor *d, struct error **err)
{
	char *bytes;

	if (d->size > MANIFEST_MAX_BYTES) {
		error_set(err, 0, "it has %llu bytes, more than the %u allowed",
			(unsigned long long)d->size, MANIFEST_MAX_BYTES);
		return NULL;
	}
	if (!media_type_is_manifest(d->media_type) && !media_type_is_index(d->media_type))
		return read_blob(r, d, err);
	bytes = copy_top(r, d);
	return bytes ? bytes : read_manifest(r, d, err);
}

/* ---- blobs ---- */

struct stream *remote_open_stream(
	struct remote *r, const struct digest *digest, uint64_t size, struct error **err)
{
	size_t ahead = size < LAYER_AHEAD ? (size_t)size : LAYER_AHEAD;

	return registry_open_blob(r->registry, digest, size, ahead, err);
}

int remote_has_blob(
	struct remote *r, const struct digest *digest, uint64_t *size, struct error **err)
{
	return registry_has_blob(r->registry, digest, size, err);
}

static struct spooled *find_spooled(const struct remote *r, const struct digest *digest)
{
	struct spooled *s = r->spooled;

	while (s && !digest_equal(&s->digest, digest))
		s = s->next;
	return s;
}

/* For the caller to fill: it is not here, and nobody else is about it. With the lock held. */
static struct spooled *claim(struct remote *r, const struct digest *digest)
{
	struct spooled *s = xzalloc(sizeof(*s));

	*s = (struct spooled){ .next = r->spooled, .digest = *digest, .fd = -1 };
	r->spooled = s;
	return s;
}

/* The blob if it is here, or one for the caller to fill: then *mine. With the lock held. */
static struct spooled *find_or_claim(struct remote *r, const struct digest *digest, bool *mine)
{
	struct spooled *s;

	while ((s = find_spooled(r, digest)) && s->fd < 0) {
		registry_await_no_more(r->registry); /* from now on, somebody waits */
		pthread_cond_wait(&r->changed, &r->lock);
	}
	*mine = !s;
	return s ? s : claim(r, digest);
}

static int fetch(struct remote *r, const struct digest *digest, uint64_t size, struct error **err)
{
	CLEANUP_STREAM struct stream *s = remote_open_stream(r, digest, size, err);
	uint64_t found;

	if (!s)
		return -1;
	s = stream_verify(s, digest, size);
	return stream_spool(s, &found, err);
}

/* Fetched, or given up: those who waited then try themselves. With the lock held. */
static void settle(struct remote *r, struct spooled *s, int fd, uint64_t size)
{
	struct spooled **at = &r->spooled;

	s->fd = fd;
	s->size = size;
	if (fd < 0) {
		while (*at != s)
			at = &(*at)->next;
		*at = s->next;
		spooled_free(s);
	}
	pthread_cond_broadcast(&r->changed);
}

/* Then all tries have been made, and who asks first makes no more. With the lock held. */
static bool has_failed(struct remote *r, const struct digest *digest, struct error **err)
{
	struct expected *x = r->expected;

	if (!x || !x->error || !digest_equal(&x->digest, digest))
		return false;
	*err = take_ptr(x->error);
	return true;
}

/* What has been claimed, or -1; the descriptor is `s`'s. With the lock held. */
static int fill(struct remote *r, struct spooled *s, uint64_t size, struct error **err)
{
	int fd = -1;

	if (!has_failed(r, &s->digest, err)) {
		pthread_mutex_unlock(&r->lock);
		fd = fetch(r, &s->digest, size, err);
		pthread_mutex_lock(&r->lock);
	}
	settle(r, s, fd, size);
	return fd;
}

int remote_open_blob(struct remote *r, const struct digest *digest, uint64_t size,
	struct file_range *range, struct error **err)
{
	struct spooled *s;
	bool mine;
	int fd;

	*range = FILE_RANGE_NONE;
	pthread_mutex_lock(&r->lock);
	s = find_or_claim(r, digest, &mine);
	if (mine) {
		fd = fill(r, s, size, err);
	} else {
		fd = s->fd;
		size = s->size;
	}
	pthread_mutex_unlock(&r->lock);
	if (fd < 0)
		return -1;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return error_set(err, errno, "cannot open a temporary file again");
	*range = (struct file_range){ fd, 0, size };
	return 0;
}

/*
 * Mostly the second connection gets ready just before or just after the answer that says what is
 * expected. When it is not by the time that somebody asks for the blob, the first one is free
 * again.
 */
static void *fetch_expected(void *arg)
{
	struct expected *x = arg;
	struct remote *r = x->remote;
	struct error *e = NULL;

	registry_await_warm(r->registry);
	pthread_mutex_lock(&r->lock);
	if (fill(r, x->claimed, x->size, &e) < 0)
		x->error = e;
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

void remote_expect_blob(struct remote *r, const struct digest *digest, uint64_t size)
{
	CLEANUP_ERROR struct error *ignored = NULL;
	struct expected *x;

	if (r->expected || size > EXPECTED_MAX || !registry_warms(r->registry))
		return;
	x = xzalloc(sizeof(*x));
	*x = (struct expected){ .remote = r, .digest = *digest, .size = size };
	pthread_mutex_lock(&r->lock);
	/* before the thread runs: else it might ask once more after who opens the blob */
	if (!find_spooled(r, digest))
		x->claimed = claim(r, digest);
	if (x->claimed && thread_start(&x->thread, fetch_expected, x, &ignored) == 0) {
		r->expected = x;
	} else {
		if (x->claimed)
			settle(r, x->claimed, -1, 0);
		free(x);
	}
	pthread_mutex_unlock(&r->lock);
}
