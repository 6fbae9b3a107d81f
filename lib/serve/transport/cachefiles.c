// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/transport/cachefiles.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/thread.h"
#include "lib/serve/holder/keep.h"
#include "lib/serve/transport/cachefiles_part.h"

enum { WRITERS = 4 };

struct cachefiles *cachefiles_of(struct device_transport *t)
{
	return (struct cachefiles *)t;
}

uint64_t cachefiles_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

const char *cachefiles_domain(const struct device_transport *t)
{
	return ((const struct cachefiles *)t)->domain;
}

int cachefiles_command(struct cachefiles *c, const struct cachefiles_command *command)
{
	ssize_t n;

	do
		n = c->ops.write(c->dev, command->text, command->len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

/* ---- who uses it ---- */

void cachefiles_hold(struct cachefiles *c)
{
	pthread_mutex_lock(&c->gate);
	c->users++;
	pthread_mutex_unlock(&c->gate);
}

void cachefiles_put(struct cachefiles *c)
{
	bool last;

	pthread_mutex_lock(&c->gate);
	last = --c->users == 0;
	pthread_mutex_unlock(&c->gate);
	if (!last)
		return;
	pthread_mutex_destroy(&c->gate);
	pthread_mutex_destroy(&c->objects_lock);
	pthread_rwlock_destroy(&c->sources_lock);
	pthread_mutex_destroy(&c->culling.lock);
	pthread_cond_destroy(&c->culling.wake);
	pthread_cond_destroy(&c->culling.done);
	free(c->name);
	free(c->dir);
	free(c->domain);
	free(c);
}

bool cachefiles_post(struct cachefiles *c, int priority, struct job *job)
{
	bool posted;

	pthread_mutex_lock(&c->gate);
	posted = !c->stopping;
	if (posted)
		workers_post(c->workers, priority, job);
	pthread_mutex_unlock(&c->gate);
	return posted;
}

/* ---- the transport ---- */

/* The kernel need not ask for it any more: then it does not need us either. */
static void completed(struct device_transport *t, struct shared_blob *b)
{
	struct cachefiles *c = cachefiles_of(t);
	const struct cache_source *s;

	pthread_rwlock_rdlock(&c->sources_lock);
	s = b->attached[DEVICE_CACHEFILES];
	pthread_rwlock_unlock(&c->sources_lock);
	if (s)
		cache_objects_each(c, s, cache_fill);
}

/* Culling is done by a name in the working directory. */
static void *cull_apart(void *arg)
{
	if (unshare(CLONE_FS) < 0) {
		log_warn("cachefiles: nothing is culled: %s", strerror(errno));
		return NULL;
	}
	return cache_culler(arg);
}

static int start_threads(struct cachefiles *c, struct error **err)
{
	c->workers = workers_start(WRITERS, err);
	if (!c->workers)
		return -1;
	if (c->dir && thread_start(&c->culler, cull_apart, c, err) < 0)
		return -1;
	c->culls = c->dir != NULL;
	if (thread_start(&c->loop, cache_loop, c, err) < 0)
		return -1;
	c->looping = true;
	return 0;
}

/* What a former process has read and not answered comes again, each with an OPEN before it, for
 * that one's objects were closed by its end. */
static int start(struct device_transport *t, struct error **err)
{
	struct cachefiles *c = cachefiles_of(t);
	struct cachefiles_command restore;

	if (c->looping)
		return 0;
	if (start_threads(c, err) < 0)
		return -1;
	cachefiles_put_restore(&restore);
	if (c->adopted && cachefiles_command(c, &restore) < 0)
		return error_set(
			err, errno, "cachefiles: the kernel does not send its requests again");
	return 0;
}

static void stop_culler(struct cachefiles *c)
{
	if (!c->culls)
		return;
	pthread_mutex_lock(&c->culling.lock);
	c->culling.stop = true;
	pthread_cond_broadcast(&c->culling.wake);
	pthread_cond_broadcast(&c->culling.done);
	pthread_mutex_unlock(&c->culling.lock);
	pthread_join(c->culler, NULL);
}

static void stop_loop(struct cachefiles *c)
{
	uint64_t one = 1;

	if (c->looping && write(c->wake, &one, sizeof(one)) == sizeof(one))
		pthread_join(c->loop, NULL);
}

/* Without a mount nobody needs the cache: others may have the device. */
static void let_go(struct cachefiles *c)
{
	if (c->keep && !c->sources)
		keep_drop(c->keep, c->name);
}

/* The objects before the device, or closing that would wait for them. What the engine has not
 * answered yet goes nowhere. */
static void close_transport(struct device_transport *t)
{
	struct cachefiles *c = cachefiles_of(t);

	stop_loop(c);
	stop_culler(c);
	pthread_mutex_lock(&c->gate);
	c->stopping = true;
	pthread_mutex_unlock(&c->gate);
	workers_stop(c->workers);
	let_go(c);
	cache_objects_end(c);
	cache_sources_free(c);
	cleanup_fd_(&c->dev);
	cleanup_fd_(&c->wake);
	cachefiles_put(c);
}

struct device_transport *cachefiles_new(
	int dev, const char *dir, const char *domain, const struct cachefiles_ops *ops)
{
	struct cachefiles *c = xzalloc(sizeof(*c));
	pthread_condattr_t attr;

	c->transport = (struct device_transport){ .name = "cachefiles",
		.kind = DEVICE_CACHEFILES,
		.attach = cachefiles_attach,
		.detach = cachefiles_detach,
		.completed = completed,
		.start = start,
		.close = close_transport };
	c->ops = *ops;
	c->dev = dev;
	c->wake = eventfd(0, EFD_CLOEXEC);
	c->dir = dir ? xstrdup(dir) : NULL;
	c->domain = xstrdup(domain);
	c->users = 1;
	c->content_blocks = c->content_files = CACHEFILES_RUN;
	pthread_mutex_init(&c->gate, NULL);
	pthread_mutex_init(&c->objects_lock, NULL);
	pthread_rwlock_init(&c->sources_lock, NULL);
	pthread_mutex_init(&c->culling.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->culling.wake, &attr);
	pthread_cond_init(&c->culling.done, &attr);
	pthread_condattr_destroy(&attr);
	return &c->transport;
}
