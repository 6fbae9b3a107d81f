/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * lib/registry/registry.h in memory, in place of the library's: what is asked for is written down,
 * and what is to fail can be said. One registry for all repositories of a test.
 */
#ifndef TESTS_UNIT_FAKE_REGISTRY_H
#define TESTS_UNIT_FAKE_REGISTRY_H

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/registry/registry.h"

static struct {
	pthread_mutex_t lock;
	json_t *blobs; /* "repository digest": the bytes */
	json_t *manifests; /* "repository digest": [type, bytes] */
	json_t *tags; /* "repository tag": the digest */
	json_t *calls; /* one line each, in order */
	const char *broken; /* a call that begins so fails */
	bool cancelled; /* some registry was */
	bool keeps_referrers; /* and says so: OCI-Subject */
	unsigned opened_blobs; /* how often bytes were fetched */
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct registry {
	char *repository;
	bool cancelled;
};

static inline void fake_reset(void)
{
	json_decref(fake.blobs);
	json_decref(fake.manifests);
	json_decref(fake.tags);
	json_decref(fake.calls);
	fake.blobs = json_object();
	fake.manifests = json_object();
	fake.tags = json_object();
	fake.calls = json_array();
	fake.broken = NULL;
	fake.cancelled = fake.keeps_referrers = false;
	fake.opened_blobs = 0;
}

static inline char *fake_key(const char *repository, const struct digest *d)
{
	char text[DIGEST_MAX_STR];

	return xasprintf("%s %s", repository, digest_format(d, text));
}

/* Writes the call down; with the lock held after it. */
static inline int fake_call(
	struct registry *r, const char *what, const char *which, struct error **err)
{
	CLEANUP_FREE char *line = xasprintf("%s %s", what, which);

	pthread_mutex_lock(&fake.lock);
	json_array_append_new(fake.calls, json_string(line));
	if (r->cancelled)
		return error_set(err, 0, "cancelled");
	if (fake.broken && strncmp(line, fake.broken, strlen(fake.broken)) == 0)
		return error_set(err, 0, "broken: %s", line);
	return 0;
}

static inline int fake_done(int rc)
{
	pthread_mutex_unlock(&fake.lock);
	return rc;
}

/* How many calls begin so; the first such is number *first. */
static inline size_t fake_calls(const char *begin, size_t *first)
{
	size_t i, n = 0;
	json_t *line;

	json_array_foreach(fake.calls, i, line)
	{
		if (strncmp(json_string_value(line), begin, strlen(begin)) != 0)
			continue;
		if (!n++ && first)
			*first = i;
	}
	return n;
}

/* For tests to fill it. */
static inline void fake_blob(const char *repository, const struct digest *d, const char *bytes)
{
	CLEANUP_FREE char *key = fake_key(repository, d);

	json_object_set_new(fake.blobs, key, json_string(bytes));
}

static inline void fake_manifest(const char *repository, const char *tag, const char *type,
	const char *bytes, struct digest *d)
{
	CLEANUP_FREE char *name = xasprintf("%s %s", repository, tag ? tag : "");
	char text[DIGEST_MAX_STR];

	digest_of(d, DIGEST_SHA256, bytes, strlen(bytes));
	{
		CLEANUP_FREE char *key = fake_key(repository, d);

		json_object_set_new(fake.manifests, key, json_pack("[s, s]", type, bytes));
	}
	if (tag)
		json_object_set_new(fake.tags, name, json_string(digest_format(d, text)));
}

/* What a tag names: the digest as text, or NULL. */
static inline const char *fake_tag(const char *repository, const char *tag)
{
	CLEANUP_FREE char *name = xasprintf("%s %s", repository, tag);

	return json_string_value(json_object_get(fake.tags, name));
}

/* ---- the interface ---- */

struct registry *registry_open(const char *host, const char *repository,
	enum registry_access access, const struct registry_options *options, struct error **err)
{
	struct registry *r = xzalloc(sizeof(*r));

	r->repository = xstrdup(repository);
	return r;
}

void registry_close(struct registry *r)
{
	if (!r)
		return;
	free(r->repository);
	free(r);
}

void registry_cancel(struct registry *r)
{
	pthread_mutex_lock(&fake.lock);
	r->cancelled = fake.cancelled = true;
	pthread_mutex_unlock(&fake.lock);
}

void registry_document_free(struct registry_document *d)
{
	free(d->bytes);
	free(d->media_type);
}

int registry_get_manifest(struct registry *r, const char *tag, const struct digest *digest,
	struct registry_document *d, struct error **err)
{
	CLEANUP_FREE char *name = xasprintf("%s %s", r->repository, tag ? tag : "");
	CLEANUP_FREE char *key = digest ? fake_key(r->repository, digest) : NULL;
	const char *found = NULL, *bytes;
	const json_t *entry;

	if (fake_call(r, "get", key ? key : name, err) < 0)
		return fake_done(-1);
	if (!key && (found = json_string_value(json_object_get(fake.tags, name))))
		key = xasprintf("%s %s", r->repository, found);
	entry = key ? json_object_get(fake.manifests, key) : NULL;
	if (!entry)
		return fake_done(error_set(err, ENOENT, "%s", key ? key : name));
	bytes = json_string_value(json_array_get(entry, 1));
	d->media_type = xstrdup(json_string_value(json_array_get(entry, 0)));
	d->bytes = xstrdup(bytes);
	d->size = strlen(bytes);
	digest_of(&d->digest, DIGEST_SHA256, bytes, d->size);
	return fake_done(0);
}

struct fake_stream {
	struct stream stream;
	char *bytes;
	size_t at, size;
};

static ssize_t fake_read(struct stream *s, void *buf, size_t len, struct error **err)
{
	struct fake_stream *f = (struct fake_stream *)s;
	size_t n = f->size - f->at < len ? f->size - f->at : len;

	memcpy(buf, f->bytes + f->at, n);
	f->at += n;
	return (ssize_t)n;
}

static void fake_close(struct stream *s)
{
	free(((struct fake_stream *)s)->bytes);
	free(s);
}

struct stream *registry_open_blob(struct registry *r, const struct digest *digest, uint64_t size,
	size_t ahead, struct error **err)
{
	CLEANUP_FREE char *key = fake_key(r->repository, digest);
	struct fake_stream *f;
	const char *bytes;

	if (fake_call(r, "fetch", key, err) < 0) {
		fake_done(-1);
		return NULL;
	}
	fake.opened_blobs++;
	bytes = json_string_value(json_object_get(fake.blobs, key));
	if (!bytes) {
		fake_done(error_set(err, ENOENT, "%s", key));
		return NULL;
	}
	f = xzalloc(sizeof(*f));
	*f = (struct fake_stream){ .stream = { .read = fake_read, .close = fake_close },
		.bytes = xstrdup(bytes),
		.size = strlen(bytes) };
	fake_done(0);
	return &f->stream;
}

int registry_read_blob(struct registry *r, const struct digest *digest, uint64_t offset, void *buf,
	size_t len, struct error **err)
{
	return error_set(err, 0, "not in this fake");
}

int registry_has_blob(
	struct registry *r, const struct digest *digest, uint64_t *size, struct error **err)
{
	CLEANUP_FREE char *key = fake_key(r->repository, digest);
	const json_t *bytes;

	if (fake_call(r, "has", key, err) < 0)
		return fake_done(-1);
	bytes = json_object_get(fake.blobs, key);
	*size = json_string_length(bytes);
	return fake_done(bytes != NULL);
}

int registry_mount_blob(
	struct registry *r, const struct digest *digest, const char *from, struct error **err)
{
	CLEANUP_FREE char *key = fake_key(r->repository, digest);
	CLEANUP_FREE char *there = fake_key(from, digest);
	json_t *bytes;

	if (fake_call(r, "mount", there, err) < 0)
		return fake_done(-1);
	bytes = json_object_get(fake.blobs, there);
	if (bytes)
		json_object_set(fake.blobs, key, bytes);
	return fake_done(bytes != NULL);
}

int registry_put_blob(struct registry *r, const struct digest *digest, int fd, uint64_t offset,
	uint64_t size, _Atomic uint64_t *sent, struct error **err)
{
	CLEANUP_FREE char *key = fake_key(r->repository, digest);
	CLEANUP_FREE char *bytes = xzalloc(size + 1);

	if (fake_call(r, "put", key, err) < 0)
		return fake_done(-1);
	if (pread(fd, bytes, size, (off_t)offset) != (ssize_t)size)
		return fake_done(error_set(err, errno, "cannot read the blob"));
	json_object_set_new(fake.blobs, key, json_string(bytes));
	*sent += size;
	return fake_done(0);
}

int registry_put_manifest(struct registry *r, const char *tag, const void *bytes, size_t size,
	const char *media_type, const struct digest *digest, bool *linked, struct error **err)
{
	CLEANUP_FREE char *text = xstrndup(bytes, size);
	CLEANUP_FREE char *name = xasprintf("%s %s", r->repository, tag ? tag : "by digest");
	struct digest found;

	if (fake_call(r, "manifest", name, err) < 0)
		return fake_done(-1);
	fake_manifest(r->repository, tag, media_type, text, &found);
	if (linked)
		*linked = fake.keeps_referrers && strstr(text, "\"subject\"");
	return fake_done(digest_equal(&found, digest) ? 0 : error_set(err, 0, "another digest"));
}

#endif
