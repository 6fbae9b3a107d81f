// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/shared_blob.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "fmt/chunk_index.h"
#include "lib/base/mem.h"
#include "lib/blob/range_map.h"
#include "lib/image/erofs.h"
#include "lib/serve/blob_ways.h"
#include "lib/serve/transport/device_transport.h"

/* Images may say different things of one blob: each has its own entry, and at most one is right. */
struct key {
	struct digest digest; /* of the blob as stored */
	struct digest index; /* erofs_index_name() */
	uint64_t size; /* of the device */
};

struct entry {
	struct shared_blob blob;
	struct key key;
	struct blob_ways ways; /* where it comes from */
	struct entry *next;
	struct blob_set *set;
	struct store_blob *cache; /* until it is served */
	struct store_blob *handle; /* the same, then the engine's */
	struct erofs_index index;
	char *name;
	unsigned users;
	unsigned mounts[DEVICE_KINDS]; /* how many have it by which transport */
};

struct blob_set {
	struct store *store;
	struct engine *engine;
	pthread_rwlock_t telling; /* shared while a transport is told something */
	struct device_transport *transports[DEVICE_KINDS]; /* some come later */
	bool named;
	unsigned deadline; /* 0: the engine's */
	pthread_mutex_t mutex; /* for the list, and one use or drop at a time */
	struct entry *entries;
};

static struct entry *entry_of(const struct shared_blob *b)
{
	return (struct entry *)b; /* its first member */
}

bool shared_blob_is_complete(const struct shared_blob *b)
{
	return b->served ? served_blob_is_complete(b->served)
			 : store_blob_is_complete(entry_of(b)->cache);
}

/* ---- for the engine ---- */

static struct range_map *read_index(void *arg, struct blob_source *source, struct error **err)
{
	const struct entry *e = arg;
	size_t size = (size_t)(e->index.end - e->index.offset - CHUNK_INDEX_SKIPPABLE);
	CLEANUP_FREE uint8_t *frame = xmalloc(size + CHUNK_INDEX_SKIPPABLE);
	struct fault fault;

	if (source->read(source, &e->key.digest, e->index.offset, frame,
		    size + CHUNK_INDEX_SKIPPABLE, err) < 0)
		return NULL;
	if (chunk_index_get_skippable(frame, size, &fault) < 0) {
		error_set(err, 0, "its chunk index: %s", fault.what);
		return NULL;
	}
	return range_map_new(xmemdup(frame + CHUNK_INDEX_SKIPPABLE, size), size, e->index.offset,
		e->blob.size, &e->index.digest, err);
}

static void completed(void *arg)
{
	struct entry *e = arg;

	pthread_rwlock_rdlock(&e->set->telling);
	for (int kind = 0; kind < DEVICE_KINDS; kind++) {
		struct device_transport *t = e->set->transports[kind];

		if (t && t->completed && e->blob.attached[kind])
			t->completed(t, &e->blob);
	}
	pthread_rwlock_unlock(&e->set->telling);
}

static void changed(void *arg, uint64_t offset, uint64_t len)
{
	struct entry *e = arg;

	pthread_rwlock_rdlock(&e->set->telling);
	for (int kind = 0; kind < DEVICE_KINDS; kind++) {
		struct device_transport *t = e->set->transports[kind];

		if (t && t->changed)
			t->changed(t, &e->blob, offset, len);
	}
	pthread_rwlock_unlock(&e->set->telling);
}

static void lost(void *arg)
{
	struct entry *e = arg;

	pthread_rwlock_rdlock(&e->set->telling);
	for (int kind = 0; kind < DEVICE_KINDS; kind++) {
		struct device_transport *t = e->set->transports[kind];

		if (t && t->lost)
			t->lost(t, &e->blob);
	}
	pthread_rwlock_unlock(&e->set->telling);
}

/* ---- entries ---- */

/* How many frames: an index's size says it, before it is read. */
static int count_frames(const struct image_layer *l, const struct erofs_index *index, uint32_t *n,
	struct error **err)
{
	uint64_t size = index->end - index->offset;

	if (size < CHUNK_INDEX_SKIPPABLE + CHUNK_INDEX_HEADER ||
		size > CHUNK_INDEX_SKIPPABLE + (uint64_t)RANGE_MAP_BYTES_MAX)
		return error_set(
			err, 0, "%s: a chunk index cannot have %" PRIu64 " bytes", l->name, size);
	size -= CHUNK_INDEX_SKIPPABLE + CHUNK_INDEX_HEADER;
	*n = (uint32_t)(size / CHUNK_INDEX_ENTRY);
	if (size % CHUNK_INDEX_ENTRY)
		return error_set(
			err, 0, "%s: its chunk index has no whole number of entries", l->name);
	return 0;
}

static void entry_free(struct entry *e)
{
	if (!e)
		return;
	engine_remove(e->blob.served);
	store_blob_close(e->cache);
	blob_ways_end(&e->ways);
	free(e->name);
	free(e);
}

static void cleanup_entry_(struct entry **e)
{
	entry_free(*e);
}

static void entry_serve(struct entry *e)
{
	const struct served_blob_parts parts = { .cache = e->cache,
		.open_index = read_index,
		.completed = completed,
		.changed = changed,
		.lost = lost,
		.arg = e,
		.source = &e->ways.source,
		.digest = e->key.digest,
		.name = e->name };

	e->cache = NULL;
	e->blob.served = engine_add(e->set->engine, &parts);
}

static int entry_open(struct entry *e, const struct image_layer *l, struct error **err)
{
	struct store_spec spec = {
		.digest = e->key.digest, .index = e->key.index, .size = e->key.size
	};

	if (count_frames(l, &e->index, &spec.n_frames, err) < 0)
		return -1;
	e->cache = e->set->named ? store_blob_open_shared(e->set->store, &spec, err)
				 : store_blob_open_now(e->set->store, &spec, err);
	if (!e->cache)
		return -1;
	e->handle = e->cache;
	e->blob.fd = store_blob_fd(e->cache);
	e->blob.path = store_blob_path(e->cache);
	return 0;
}

static void name_of_key(const struct key *k, struct digest *name)
{
	char digest[DIGEST_MAX_STR], index[DIGEST_MAX_STR];
	CLEANUP_FREE char *all = xasprintf("%s %s %" PRIu64, digest_format(&k->digest, digest),
		digest_format(&k->index, index), k->size);

	digest_of(name, DIGEST_SHA256, all, strlen(all));
}

static struct entry *entry_new(struct blob_set *s, const struct image_layer *l,
	const struct key *key, const struct erofs_index *index, struct error **err)
{
	CLEANUP(cleanup_entry_) struct entry *e = xzalloc(sizeof(*e));

	e->key = *key;
	e->index = *index;
	e->blob =
		(struct shared_blob){ .set = s, .index = key->index, .size = key->size, .fd = -1 };
	name_of_key(key, &e->blob.digest);
	e->set = s;
	e->name = xstrdup(l->name);
	blob_ways_init(&e->ways, &l->digest);
	return entry_open(e, l, err) < 0 ? NULL : take_ptr(e);
}

static bool key_equal(const struct key *a, const struct key *b)
{
	return a->size == b->size && digest_equal(&a->digest, &b->digest) &&
	       digest_equal(&a->index, &b->index);
}

static struct entry *find_or_open(
	struct blob_set *s, const struct image_layer *l, uint64_t size, struct error **err)
{
	struct key key = { .digest = l->digest, .size = size };
	struct erofs_index index;
	struct entry *e;

	if (erofs_layer_index(l, &index, err) < 0)
		return NULL;
	erofs_index_name(&index, &key.index);
	for (e = s->entries; e; e = e->next)
		if (key_equal(&e->key, &key))
			return e;
	e = entry_new(s, l, &key, &index, err);
	if (!e)
		return NULL;
	e->next = s->entries;
	s->entries = e;
	return e;
}

struct shared_blob *blob_set_use(struct blob_set *s, const struct image_layer *layer, uint64_t size,
	struct blob_source *source, struct error **err)
{
	struct entry *e;

	pthread_mutex_lock(&s->mutex);
	e = find_or_open(s, layer, size, err);
	if (e) {
		e->users++;
		blob_ways_add(&e->ways, source);
		if (s->engine && !e->blob.served)
			entry_serve(e);
	}
	pthread_mutex_unlock(&s->mutex);
	return e ? &e->blob : NULL;
}

void blob_set_drop(struct shared_blob *b, struct blob_source *source)
{
	struct blob_set *s = b->set;
	struct entry *e = entry_of(b), **at = &s->entries;

	pthread_mutex_lock(&s->mutex);
	if (--e->users == 0) {
		while (*at != e)
			at = &(*at)->next;
		*at = e->next;
		entry_free(e);
	} else {
		blob_ways_remove(&e->ways, source);
	}
	pthread_mutex_unlock(&s->mutex);
}

int shared_blob_attach(
	struct shared_blob *b, struct device_transport *t, char **path, struct error **err)
{
	struct entry *e = entry_of(b);
	int rc;

	pthread_mutex_lock(&e->set->mutex);
	rc = t->kind == DEVICE_FANOTIFY ? store_blob_watch(e->handle, err) : 0;
	if (rc == 0)
		rc = t->attach(t, b, path, err);
	if (rc == 0)
		e->mounts[t->kind]++;
	pthread_mutex_unlock(&e->set->mutex);
	return rc;
}

void shared_blob_detach(struct shared_blob *b, struct device_transport *t)
{
	struct entry *e = entry_of(b);

	pthread_mutex_lock(&e->set->mutex);
	if (--e->mounts[t->kind] == 0)
		t->detach(t, b);
	pthread_mutex_unlock(&e->set->mutex);
}

int shared_blob_prove(struct shared_blob *b, struct blob_source *source, struct error **err)
{
	return engine_prove(b->served, source, err);
}

/* ---- the set ---- */

struct blob_set *blob_set_new(struct store *store, bool named)
{
	struct blob_set *s = xzalloc(sizeof(*s));

	s->store = store;
	s->named = named;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_rwlock_init(&s->telling, NULL);
	return s;
}

void blob_set_deadline(struct blob_set *s, unsigned seconds)
{
	s->deadline = seconds;
}

int blob_set_start(struct blob_set *s, struct error **err)
{
	struct engine_options o = ENGINE_OPTIONS_DEFAULT;

	if (s->deadline)
		o.deadline = s->deadline;
	s->engine = engine_start(&o, err);
	if (!s->engine)
		return -1;
	for (struct entry *e = s->entries; e; e = e->next)
		entry_serve(e);
	return 0;
}

void blob_set_add_transport(struct blob_set *s, struct device_transport *t)
{
	pthread_rwlock_wrlock(&s->telling);
	s->transports[t->kind] = t;
	pthread_rwlock_unlock(&s->telling);
}

void blob_set_remove_transport(struct blob_set *s, const struct device_transport *t)
{
	pthread_rwlock_wrlock(&s->telling);
	s->transports[t->kind] = NULL;
	pthread_rwlock_unlock(&s->telling);
}

void blob_set_end(struct blob_set *s)
{
	engine_end(s->engine);
}

void blob_set_free(struct blob_set *s)
{
	if (!s)
		return;
	engine_stop(s->engine);
	store_close(s->store);
	pthread_mutex_destroy(&s->mutex);
	pthread_rwlock_destroy(&s->telling);
	free(s);
}

struct engine *blob_set_engine(const struct blob_set *s)
{
	return s->engine;
}

struct store *blob_set_store(const struct blob_set *s)
{
	return s->store;
}
