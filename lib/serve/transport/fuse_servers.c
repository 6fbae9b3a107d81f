// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Threads hear, that is, take requests and answer them; or are parked; or have stepped aside in the
 * middle of an answer. One hears at all times, but when all that there may be have stepped aside.
 */
#include "config.h"

#include "lib/serve/transport/fuse_servers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/thread.h"
#include "lib/serve/linger.h"

#define LONG                                                                                 \
	UINT64_C(100000) /* nanoseconds, for an answer of a few bytes: it waited for a disk, \
			    perhaps */

enum {
	LARGE = 64 * 1024, /* bytes: to read these takes as long as to wake somebody */
	NO_MEMORY_MS = 10, /* until it is asked for again */
	MANY = 8, /* small requests, each there when the one before is answered */
};

struct server {
	struct fuse_servers *all;
	struct fuse_buf buf; /* libfuse allocates it */
	pthread_t thread;
	struct lingerer linger;
	unsigned at_once; /* requests without having to look twice */
	bool waited; /* in the middle of an answer, perhaps */
	bool aside;
};

struct fuse_servers {
	struct fuse_session *fuse;
	char *name;
	int ended; /* eventfd: readable once it is */
	int flags; /* that /dev/fuse had before */
	unsigned n_processors;
	atomic_bool stop, gone;
	atomic_int error; /* why it is gone; 0: it was unmounted */
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t called;
	unsigned hearing; /* also those who are called and come */
	unsigned parked; /* who can be called */
	unsigned calls; /* nobody has followed yet */
	unsigned n, max;
	struct server servers[];
};

static _Thread_local struct server *me; /* while it answers */

/* In this process. They need another processor each than those who ask. */
static atomic_uint lingering;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- who hears ---- */

static void *serve(void *arg);

static void start_one_locked(struct fuse_servers *s, struct error **err)
{
	struct server *one = &s->servers[s->n];

	one->all = s;
	if (thread_start(&one->thread, serve, one, err) < 0)
		return;
	s->n++;
	s->hearing++;
}

static void call_one_locked(struct fuse_servers *s)
{
	struct error *err = NULL;

	if (s->parked) {
		s->parked--;
		s->calls++;
		s->hearing++;
		pthread_cond_signal(&s->called);
	} else if (s->n < s->max && !atomic_load(&s->stop)) {
		start_one_locked(s, &err);
		if (err)
			log_debug("FUSE, %s: %s", s->name, err->msg);
		error_free(err);
	}
}

/* Nothing is asked: when somebody else hears, false after having been called again. */
static bool is_alone(struct fuse_servers *s)
{
	bool alone;

	pthread_mutex_lock(&s->lock);
	alone = s->hearing == 1;
	if (!alone) {
		s->hearing--;
		s->parked++;
		while (!s->calls && !atomic_load(&s->stop))
			pthread_cond_wait(&s->called, &s->lock);
		if (s->calls)
			s->calls--;
	}
	pthread_mutex_unlock(&s->lock);
	return alone;
}

bool fuse_servers_have_me(void)
{
	return me;
}

void fuse_servers_step_aside(void)
{
	struct fuse_servers *s;

	if (!me || me->aside)
		return;
	s = me->all;
	me->aside = true;
	pthread_mutex_lock(&s->lock);
	if (--s->hearing == 0)
		call_one_locked(s);
	pthread_mutex_unlock(&s->lock);
}

static void step_back(struct server *one)
{
	struct fuse_servers *s = one->all;

	one->aside = false;
	pthread_mutex_lock(&s->lock);
	s->hearing++;
	pthread_mutex_unlock(&s->lock);
}

/* ---- hearing ---- */

static void end(struct fuse_servers *s)
{
	pthread_mutex_lock(&s->lock);
	atomic_store(&s->stop, true);
	pthread_cond_broadcast(&s->called);
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->ended, 1);
}

/* Is there a request? At once. */
static bool take(struct server *one)
{
	struct fuse_servers *s = one->all;
	int r = fuse_session_receive_buf(s->fuse, &one->buf);

	if (r > 0)
		return true;
	if (r == -EINTR || r == -EAGAIN)
		return false;
	if (r == -ENOMEM) {
		poll(NULL, 0, NO_MEMORY_MS);
		return false;
	}
	if (r < 0) {
		log_debug("FUSE, %s: %s", s->name, strerror(-r));
		atomic_store(&s->error, -r);
	}
	fuse_session_exit(s->fuse);
	atomic_store(&s->gone, true);
	end(s);
	return false;
}

static bool look_again(struct server *one, uint64_t since)
{
	struct fuse_servers *s = one->all;
	bool taken = false;

	if (atomic_fetch_add(&lingering, 1) + 1 < s->n_processors)
		while (!taken && !atomic_load(&s->stop) && now() - since < LINGER)
			taken = take(one);
	atomic_fetch_sub(&lingering, 1);
	return taken;
}

/* A request may be there after that. */
static void sleep_for_request(struct fuse_servers *s)
{
	struct pollfd p[2] = {
		{ .fd = fuse_session_fd(s->fuse), .events = POLLIN },
		{ .fd = s->ended, .events = POLLIN },
	};

	poll(p, 2, -1);
}

static bool wait_and_take(struct server *one)
{
	uint64_t since = now();
	bool taken = linger_pays(&one->linger) && look_again(one, since);

	if (!taken && !atomic_load(&one->all->stop)) {
		sleep_for_request(one->all);
		taken = take(one);
	}
	if (taken)
		linger_learn(&one->linger, now() - since);
	return taken;
}

static bool hear(struct server *one)
{
	if (take(one)) {
		one->at_once++;
		return true;
	}
	one->at_once = 0;
	return is_alone(one->all) && wait_and_take(one);
}

/* ---- answering ---- */

/* Bytes that are to be read; 0: it is another request. */
static uint32_t read_size(const struct fuse_buf *buf)
{
	const struct fuse_in_header *header = buf->mem;
	const struct fuse_read_in *read = (const void *)(header + 1);

	if (buf->flags & FUSE_BUF_IS_FD || buf->size < sizeof(*header) + sizeof(*read))
		return 0;
	return header->opcode == FUSE_READ ? read->size : 0;
}

static bool more_is_asked(struct fuse_servers *s)
{
	struct pollfd p = { .fd = fuse_session_fd(s->fuse), .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents == POLLIN;
}

/*
 * Somebody else is called when there is work for two; or when this one waits now and then, for a
 * page of the tree, say, which no processor is needed for.
 */
static void share(struct server *one)
{
	struct fuse_servers *s = one->all;
	bool busy = one->at_once >= MANY || read_size(&one->buf) >= LARGE;

	if ((!busy && !one->waited) || !more_is_asked(s))
		return;
	pthread_mutex_lock(&s->lock);
	if (one->waited || s->hearing < s->n_processors)
		call_one_locked(s);
	pthread_mutex_unlock(&s->lock);
	one->at_once = 0;
	one->waited = false;
}

static void answer(struct server *one)
{
	bool reads = read_size(&one->buf);
	uint64_t began = now();

	me = one;
	fuse_session_process_buf(one->all->fuse, &one->buf);
	me = NULL;
	one->waited = !reads && now() - began > LONG;
	if (one->aside)
		step_back(one);
}

static void *serve(void *arg)
{
	struct server *one = arg;
	struct fuse_servers *s = one->all;

	while (!atomic_load(&s->stop) && !fuse_session_exited(s->fuse)) {
		if (!hear(one))
			continue;
		share(one);
		answer(one);
	}
	if (fuse_session_exited(s->fuse)) {
		atomic_store(&s->gone, true);
		end(s);
	}
	return NULL;
}

/* ---- beginning and end ---- */

struct fuse_servers *fuse_servers_start(
	struct fuse_session *fuse, const char *name, unsigned max, struct error **err)
{
	struct fuse_servers *s = xzalloc(sizeof(*s) + max * sizeof(s->servers[0]));
	int fd = fuse_session_fd(fuse);
	bool started = false;

	s->fuse = fuse;
	s->name = xstrdup(name);
	s->max = max;
	s->n_processors = thread_processors();
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->called, NULL);
	s->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->flags = fcntl(fd, F_GETFL);
	if (s->ended < 0 || s->flags < 0 || fcntl(fd, F_SETFL, s->flags | O_NONBLOCK) < 0) {
		error_set(err, errno, "FUSE, %s: cannot begin to answer", name);
	} else {
		pthread_mutex_lock(&s->lock);
		start_one_locked(s, err);
		started = s->n;
		pthread_mutex_unlock(&s->lock);
	}
	if (started)
		return s;
	fuse_servers_stop(s);
	return NULL;
}

int fuse_servers_wait(struct fuse_servers *s, struct error **err)
{
	struct pollfd p = { .fd = s->ended, .events = POLLIN };
	sigset_t signals, old;
	int code;

	/* one that comes before ppoll() must be seen by it */
	sigfillset(&signals);
	pthread_sigmask(SIG_BLOCK, &signals, &old);
	while (!fuse_session_exited(s->fuse) && !atomic_load(&s->stop))
		ppoll(&p, 1, NULL, &old);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	code = atomic_load(&s->error);
	return code ? error_set(err, code, "cannot read from /dev/fuse") : 0;
}

bool fuse_servers_are_gone(const struct fuse_servers *s)
{
	return atomic_load(&s->gone);
}

void fuse_servers_stop(struct fuse_servers *s)
{
	unsigned n;

	if (!s)
		return;
	end(s);
	pthread_mutex_lock(&s->lock);
	n = s->n; /* nobody is started any more */
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < n; i++) {
		pthread_join(s->servers[i].thread, NULL);
		free(s->servers[i].buf.mem);
	}
	if (s->flags >= 0) /* whoever goes on with it may be of another version */
		fcntl(fuse_session_fd(s->fuse), F_SETFL, s->flags);
	if (s->ended >= 0)
		close(s->ended);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->called);
	free(s->name);
	free(s);
}
