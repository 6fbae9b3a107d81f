// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The kernel's messages. Nothing here waits for anything but the kernel. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/serve/transport/cachefiles_part.h"

enum {
	RESTORE_AFTER = 1000, /* milliseconds: not more often than this */
	REFUSED_WITHIN = 2000, /* the same again so soon, */
	REFUSED_MOST = 3, /* and so often: it is no mount that is tried */
};

/* ---- OPEN ---- */

static int answer_open(struct cachefiles *c, uint32_t id, uint64_t size, int error)
{
	struct cachefiles_command command;

	if (error)
		cachefiles_put_copen_error(&command, id, error);
	else
		cachefiles_put_copen(&command, id, size);
	return cachefiles_command(c, &command);
}

/* The volume is our domain; of kernels that have none, the mount's own. With the lock. */
static bool is_our_volume(struct cachefiles *c, const struct cachefiles_message *m)
{
	const char *name = cachefiles_erofs_volume(m);
	const struct cache_source *s;

	if (!name)
		return false;
	if (strcmp(name, c->domain) == 0)
		return true;
	s = cache_source_find(c, name, strlen(name));
	return s && s->is_file;
}

static uint64_t hash(uint64_t h, const void *bytes, size_t len)
{
	for (const uint8_t *p = bytes; len--; p++)
		h = (h ^ *p) * UINT64_C(0x100000001b3);
	return h;
}

/*
 * A mount that we do not know, or not any more, but that somebody reads: an object that was closed
 * is opened anew, and refusing it would make the kernel ask for ever, and the reader wait for ever.
 */
static bool is_refused_again(struct cachefiles *c, const struct cachefiles_message *m)
{
	struct refusals *r = &c->refusals;
	uint64_t now = cachefiles_now(), key = hash(1, m->open.volume, m->open.volume_len + 1);
	unsigned n = 0, size = sizeof(r->of) / sizeof(*r->of);

	key = hash(key, m->open.cookie, m->open.cookie_len);
	for (unsigned i = 0; i < size; i++)
		n += r->of[i].key == key && now - r->of[i].at < REFUSED_WITHIN;
	r->of[r->next % size].key = key;
	r->of[r->next++ % size].at = now;
	return n >= REFUSED_MOST;
}

static void refuse_open(struct cachefiles *c, const struct cachefiles_message *m)
{
	if (is_refused_again(c, m)) {
		log_warn("cachefiles: %s is read, and nobody serves it: its reads fail",
			m->open.volume);
		cache_object_add(c, m->object, m->open.fd, NULL);
		if (answer_open(c, m->id, CACHE_BLOCK, 0) < 0)
			cache_object_close(c, m->object);
		return;
	}
	log_debug("cachefiles: the kernel opens something unknown in %s", m->open.volume);
	answer_open(c, m->id, 0, ENOENT);
	close(m->open.fd);
}

static void take_open(struct cachefiles *c, const struct cachefiles_message *m)
{
	struct cache_source *s;
	struct cache_object *o = NULL;

	fcntl(m->open.fd, F_SETFD, FD_CLOEXEC);
	pthread_rwlock_rdlock(&c->sources_lock);
	s = is_our_volume(c, m)
		    ? cache_source_find(c, (const char *)m->open.cookie, m->open.cookie_len)
		    : NULL;
	if (s)
		o = cache_object_add(c, m->object, m->open.fd, s);
	if (o && answer_open(c, m->id, o->size, 0) < 0)
		cache_object_close(c, m->object); /* who wanted it was killed */
	pthread_rwlock_unlock(&c->sources_lock);
	if (!s)
		refuse_open(c, m);
}

/* ---- the others ---- */

static void ask_again(struct cachefiles *c)
{
	if (!c->restore_at)
		c->restore_at = cachefiles_now() + RESTORE_AFTER;
}

/* Without its object there is nothing to answer it by: it comes again, with an OPEN before it. */
static void take_read(struct cachefiles *c, const struct cachefiles_message *m)
{
	struct cache_object *o = cache_object_get(c, m->object);

	if (o)
		cache_read(o, m->id, m->read.offset, m->read.len);
	else
		ask_again(c);
}

static void take_bad(struct cachefiles *c, const struct cachefiles_message *m, size_t len,
	const struct fault *fault)
{
	log_warn("cachefiles: a message of %zu bytes, opcode %" PRIu32
		 ", is refused: %s at %" PRIu64,
		len, m->opcode, fault->what, fault->offset);
	if (m->opcode == CACHEFILES_OP_OPEN)
		answer_open(c, m->id, 0, EPROTO);
	else if (m->opcode == CACHEFILES_OP_READ)
		ask_again(c);
}

static void take(struct cachefiles *c, const void *bytes, size_t len)
{
	struct cachefiles_message m;
	struct fault fault;

	if (cachefiles_parse(&m, bytes, len, &fault) < 0)
		take_bad(c, &m, len, &fault);
	else if (m.opcode == CACHEFILES_OP_OPEN)
		take_open(c, &m);
	else if (m.opcode == CACHEFILES_OP_READ)
		take_read(c, &m);
	else
		cache_object_close(c, m.object);
}

/* ---- the loop ---- */

/* False: there is nothing more now. */
static bool take_one(struct cachefiles *c)
{
	_Alignas(8) uint8_t bytes[CACHEFILES_MSG_MAX_SIZE];
	ssize_t n = c->ops.read(c->dev, bytes, sizeof(bytes));

	if (n > 0)
		take(c, bytes, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		/* the kernel has answered that request itself */
		log_warn("cachefiles: cannot read a message: %s", strerror(errno));
		poll(NULL, 0, 10);
	}
	return n > 0;
}

static int time_left(const struct cachefiles *c)
{
	uint64_t now = cachefiles_now();

	if (!c->restore_at)
		return -1;
	return c->restore_at > now ? (int)(c->restore_at - now) : 0;
}

static void restore_if_due(struct cachefiles *c)
{
	struct cachefiles_command command;

	if (!c->restore_at || time_left(c))
		return;
	c->restore_at = 0;
	cachefiles_put_restore(&command);
	if (cachefiles_command(c, &command) < 0)
		log_warn("cachefiles: the kernel does not send its requests again: %s",
			strerror(errno));
}

void *cache_loop(void *arg)
{
	struct cachefiles *c = arg;
	struct pollfd p[2] = { { .fd = c->dev, .events = POLLIN },
		{ .fd = c->wake, .events = POLLIN } };

	for (;;) {
		if (poll(p, 2, time_left(c)) < 0 && errno != EINTR)
			poll(NULL, 0, 10);
		if (p[1].revents)
			return NULL;
		while ((p[0].revents & POLLIN) && take_one(c))
			;
		if ((p[0].revents & (POLLHUP | POLLERR)) && !(p[0].revents & POLLIN))
			p[0].fd = -1; /* nobody is there any more */
		restore_if_due(c);
	}
}
