/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inside of the transport cachefiles. */
#ifndef SERVE_CACHEFILES_PART_H
#define SERVE_CACHEFILES_PART_H

#include <pthread.h>
#include <stdatomic.h>

#include "fmt/cachefiles.h"
#include "lib/base/workers.h"
#include "lib/serve/transport/cachefiles.h"

enum {
	CACHE_BLOCK = 4096, /* the kernel reads and writes whole ones */
	CACHE_GRANULE = 256 * 1024, /* what is given at once, where it is there */
	CACHE_BUCKETS = 1024, /* of objects, by number */
};

struct cachefiles;

/* ---- cachefiles_sources.c: what has a name ---- */

struct cache_source {
	char cookie[CACHEFILES_COOKIE_MAX + 1];
	struct cache_source *next; /* in the table */
	unsigned users; /* the table, each object; with the lock of objects */
	struct shared_blob *blob; /* NULL: a file, or a blob that is gone; the lock of sources */
	bool is_file, gone;
	bool at_once;
	int fd; /* its own */
	uint64_t offset, data, size; /* size: in whole blocks */
	unsigned open, opened; /* objects; with the lock of objects */
};

/* With the lock of sources. */
struct cache_source *cache_source_find(struct cachefiles *c, const char *cookie, size_t len);
/* Bytes of it that are there: 0 or the errno. The rest of the last block is zeros. */
int cache_source_read(const struct cache_source *s, uint64_t offset, uint8_t *buf, size_t len);
/* All of it is there: nobody has to be asked. With the lock of sources. */
bool cache_source_is_ready(const struct cache_source *s);
void cache_source_put_locked(struct cache_source *s); /* with the lock of objects */
void cache_sources_free(struct cachefiles *c);

int cachefiles_attach(
	struct device_transport *t, struct shared_blob *b, char **path, struct error **err);
void cachefiles_detach(struct device_transport *t, struct shared_blob *b);

/* ---- cachefiles_objects.c: what the kernel has open ---- */

struct cache_object {
	struct cachefiles *owner;
	struct cache_object *next; /* in its bucket */
	unsigned users; /* being open, each request; with the lock of objects */
	uint32_t id;
	bool closed; /* the kernel wants nothing more */
	_Atomic int fd; /* -1 after the end of the transport */
	struct cache_source *source; /* NULL: none, every read fails; with the lock of sources */
	uint64_t size, n_granules;
	atomic_uchar *claimed; /* a bit for each granule that somebody has written, or is about to
				*/
	atomic_bool filling;
};

/* `fd` is taken over. */
struct cache_object *cache_object_add(
	struct cachefiles *c, uint32_t id, int fd, struct cache_source *source);
struct cache_object *cache_object_get(struct cachefiles *c, uint32_t id); /* NULL: none */
void cache_object_put(struct cache_object *o);
void cache_object_close(struct cachefiles *c, uint32_t id);
void cache_objects_end(struct cachefiles *c); /* the descriptors; nobody uses them any more */
bool cache_object_claim(struct cache_object *o, uint64_t granule);
void cache_object_unclaim(struct cache_object *o, uint64_t granule);
/* Call `each` for all that are open and have this source, each held meanwhile. */
void cache_objects_each(
	struct cachefiles *c, const struct cache_source *s, void (*each)(struct cache_object *o));

/* ---- cachefiles_write.c: bytes to the kernel ---- */

/* READ: on any thread, does not block. The object is taken over. */
void cache_read(struct cache_object *o, uint32_t message, uint64_t offset, uint64_t len);
/* What of an object is there and was not given yet, in the background. The object is held. */
void cache_fill(struct cache_object *o);

/* ---- cachefiles_loop.c: messages ---- */

struct refusals { /* of late, so that a reader is not sent round in circles */
	struct {
		uint64_t key, at; /* milliseconds */
	} of[64];
	unsigned next;
};

void *cache_loop(void *arg);

/* ---- cachefiles_cull.c: room ---- */

void *cache_culler(void *arg);
/* Wait until what nobody has mounted has been looked through; false: nothing was gained. */
bool cache_make_room(struct cachefiles *c);
/* Files that are of no use any more go some time. */
void cache_sweep_later(struct cachefiles *c);

struct culling {
	pthread_mutex_t lock;
	pthread_cond_t wake, done;
	bool stop, sweep;
	uint64_t asked, rounds; /* for room; a round that began after somebody asked counts */
	bool gained; /* in the last round */
};

/* ---- cachefiles.c ---- */

struct cachefiles {
	struct device_transport transport; /* first */
	struct cachefiles_ops ops;
	struct keep *keep; /* of whom the device is; NULL in tests */
	char *name; /* there */
	char *dir, *domain;
	int dev, wake; /* wake: an eventfd, written at the end */
	bool adopted, looping, culls;
	unsigned content_blocks, content_files; /* percent free that culling should come to */
	pthread_t loop, culler;
	struct workers *workers;
	unsigned users; /* the transport, each request; with the gate */
	pthread_mutex_t gate; /* nothing is posted once `stopping` */
	bool stopping;
	pthread_rwlock_t sources_lock; /* reading: blobs stay attached. Before objects_lock */
	struct cache_source *sources;
	pthread_mutex_t objects_lock;
	struct cache_object *objects[CACHE_BUCKETS];
	struct refusals refusals; /* the loop's */
	uint64_t restore_at; /* when to ask for all again, milliseconds; 0: need not; the loop's */
	struct culling culling;
};

enum { CACHE_BACKGROUND, CACHE_PREFETCH, CACHE_URGENT }; /* priorities of jobs */

struct cachefiles *cachefiles_of(struct device_transport *t);
void cachefiles_hold(struct cachefiles *c);
void cachefiles_put(struct cachefiles *c);
/* False: it ends, the job will not run. */
bool cachefiles_post(struct cachefiles *c, int priority, struct job *job);
int cachefiles_command(struct cachefiles *c, const struct cachefiles_command *command);
uint64_t cachefiles_now(void); /* milliseconds */

#endif
