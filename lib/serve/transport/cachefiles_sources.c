// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/serve/transport/cachefiles_part.h"
#include "lib/store/io.h"

static uint64_t whole_blocks(uint64_t size)
{
	return (size + CACHE_BLOCK - 1) / CACHE_BLOCK * CACHE_BLOCK;
}

struct cache_source *cache_source_find(struct cachefiles *c, const char *cookie, size_t len)
{
	struct cache_source *s = c->sources;

	while (s && (strlen(s->cookie) != len || memcmp(s->cookie, cookie, len) != 0))
		s = s->next;
	return s;
}

bool cache_source_is_ready(const struct cache_source *s)
{
	return s->is_file || (s->blob && shared_blob_is_complete(s->blob));
}

int cache_source_read(const struct cache_source *s, uint64_t offset, uint8_t *buf, size_t len)
{
	uint64_t left = offset < s->data ? s->data - offset : 0;
	size_t want = len < left ? len : (size_t)left;

	memset(buf + want, 0, len - want);
	return io_read(s->fd, buf, want, s->offset + offset) < 0 ? errno : 0;
}

void cache_source_put_locked(struct cache_source *s)
{
	if (!s || --s->users)
		return;
	close(s->fd);
	free(s);
}

/* ---- coming ---- */

static struct cache_source *source_new(const char *cookie, int fd, struct error **err)
{
	struct cache_source *s = xzalloc(sizeof(*s));

	s->users = 1;
	snprintf(s->cookie, sizeof(s->cookie), "%s", cookie);
	s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (s->fd >= 0)
		return s;
	error_set(err, errno, "cannot open what is cookie %s once more", cookie);
	free(s);
	return NULL;
}

static int add(struct cachefiles *c, struct cache_source *s, struct error **err)
{
	bool taken;

	pthread_rwlock_wrlock(&c->sources_lock);
	taken = cache_source_find(c, s->cookie, strlen(s->cookie)) != NULL;
	if (!taken) {
		s->next = c->sources;
		c->sources = s;
	}
	pthread_rwlock_unlock(&c->sources_lock);
	return taken ? error_set(err, EEXIST, "there is a cookie %s already", s->cookie) : 0;
}

static int add_or_free(struct cachefiles *c, struct cache_source *s, struct error **err)
{
	if (add(c, s, err) == 0)
		return 0;
	cache_source_put_locked(s); /* nobody else knows it */
	return -1;
}

int cachefiles_add_file(
	struct device_transport *t, const struct cachefiles_file *f, struct error **err)
{
	struct cache_source *s;

	if (strlen(f->cookie) > CACHEFILES_COOKIE_MAX)
		return error_set(err, EINVAL, "the cookie %s is too long", f->cookie);
	s = source_new(f->cookie, f->fd, err);
	if (!s)
		return -1;
	s->is_file = true;
	s->at_once = f->at_once;
	s->offset = f->offset;
	s->data = f->data;
	s->size = whole_blocks(f->size);
	return add_or_free(cachefiles_of(t), s, err);
}

/*
 * The kernel's cache outlives the blob here, and whoever has the cookie gets what is in it. So it
 * is named for all that says which bytes these are: of two images that state different chunk
 * indexes for one blob, one is wrong.
 */
static void make_cookie(const struct shared_blob *b, char cookie[static CACHEFILES_COOKIE_MAX + 1])
{
	char blob[DIGEST_MAX_STR], index[DIGEST_MAX_STR], hex[DIGEST_MAX_STR];
	CLEANUP_FREE char *text = xasprintf("%s %s %" PRIu64, digest_format(&b->digest, blob),
		digest_format(&b->index, index), b->size);
	struct digest d;

	digest_of(&d, DIGEST_SHA256, text, strlen(text));
	snprintf(cookie, CACHEFILES_COOKIE_MAX + 1, "%s", digest_hex(&d, hex));
}

static int attach_new(struct cachefiles *c, struct shared_blob *b, struct error **err)
{
	char cookie[CACHEFILES_COOKIE_MAX + 1];
	struct cache_source *s;

	make_cookie(b, cookie);
	s = source_new(cookie, b->fd, err);
	if (!s)
		return -1;
	s->blob = b;
	s->data = b->size;
	s->size = whole_blocks(b->size);
	if (add_or_free(c, s, err) < 0)
		return -1;
	b->attached[DEVICE_CACHEFILES] = s;
	return 0;
}

int cachefiles_attach(
	struct device_transport *t, struct shared_blob *b, char **path, struct error **err)
{
	*path = NULL;
	if (!b->attached[DEVICE_CACHEFILES] && attach_new(cachefiles_of(t), b, err) < 0)
		return -1;
	*path = xstrdup(((struct cache_source *)b->attached[DEVICE_CACHEFILES])->cookie);
	return 0;
}

/* ---- going ---- */

static void take_out(struct cachefiles *c, struct cache_source *s)
{
	struct cache_source **at = &c->sources;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	s->blob = NULL;
	s->gone = true;
	pthread_mutex_lock(&c->objects_lock);
	cache_source_put_locked(s);
	pthread_mutex_unlock(&c->objects_lock);
}

void cachefiles_detach(struct device_transport *t, struct shared_blob *b)
{
	struct cachefiles *c = cachefiles_of(t);

	if (!b->attached[DEVICE_CACHEFILES])
		return;
	pthread_rwlock_wrlock(&c->sources_lock);
	take_out(c, b->attached[DEVICE_CACHEFILES]);
	b->attached[DEVICE_CACHEFILES] = NULL;
	pthread_rwlock_unlock(&c->sources_lock);
}

void cachefiles_remove_file(struct device_transport *t, const char *cookie)
{
	struct cachefiles *c = cachefiles_of(t);
	struct cache_source *s;

	pthread_rwlock_wrlock(&c->sources_lock);
	s = cache_source_find(c, cookie, strlen(cookie));
	if (s && s->is_file)
		take_out(c, s);
	pthread_rwlock_unlock(&c->sources_lock);
	cache_sweep_later(c);
}

void cache_sources_free(struct cachefiles *c)
{
	pthread_rwlock_wrlock(&c->sources_lock);
	while (c->sources) {
		if (c->sources->blob)
			c->sources->blob->attached[DEVICE_CACHEFILES] = NULL;
		take_out(c, c->sources);
	}
	pthread_rwlock_unlock(&c->sources_lock);
}

bool cachefiles_was_closed(struct device_transport *t, const char *cookie)
{
	struct cachefiles *c = cachefiles_of(t);
	const struct cache_source *s;
	bool closed;

	pthread_rwlock_rdlock(&c->sources_lock);
	s = cache_source_find(c, cookie, strlen(cookie));
	pthread_mutex_lock(&c->objects_lock);
	closed = s && s->opened && !s->open;
	pthread_mutex_unlock(&c->objects_lock);
	pthread_rwlock_unlock(&c->sources_lock);
	return closed;
}
