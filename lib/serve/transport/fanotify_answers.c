// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * One thread takes requests, in the order of their coming; whichever thread of the engine brings
 * the last byte of one answers it. Neither waits for anything.
 */
#include "config.h"

#include "lib/serve/transport/fanotify_answers.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "lib/base/log.h"
#include "lib/base/log_event.h"
#include "lib/base/mem.h"
#include "lib/base/thread.h"
#include "lib/serve/holder/answer.h"
#include "lib/serve/holder/requests.h"
#include "lib/serve/transport/fanotify_unknown.h"

/* What a slot's request wants of the engine. */
struct taken {
	struct want want; /* first */
	struct fanotify_answers *owner;
	/* The engine has the want. A request that expires may be followed by another one in its
	 * slot, which then has to wait for this. */
	atomic_bool busy;
};

struct fanotify_answers {
	struct fanotify_files *files;
	struct requests *requests;
	int group;
	int dir; /* the caller's */
	int news; /* the holder's eventfd */
	int call; /* an eventfd: look at `stop` and `again` */
	pthread_t thread;
	bool running;
	atomic_bool stop;
	atomic_bool again; /* a slot was passed over: look at all */
	uint32_t tail; /* what of the ring was seen */
	atomic_uint losses;
	atomic_uint users; /* whoever has made it, and each want */
	struct taken taken[REQUESTS_MAX]; /* as the slots */
};

static void put(struct fanotify_answers *a)
{
	if (atomic_fetch_sub(&a->users, 1) > 1)
		return;
	close(a->group);
	cleanup_fd_(&a->call);
	free(a);
}

static void call(struct fanotify_answers *a)
{
	static const uint64_t one = 1;

	if (write(a->call, &one, sizeof(one)) < 0)
		log_warn("fanotify: cannot wake its thread: %s", strerror(errno));
}

/* ---- answering ---- */

static bool move(struct held_request *q, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(&q->state, &from, to);
}

/* The kernel refuses most errno values, and then the reader would wait on. */
static int errno_for_kernel(int error)
{
	return error == ENOSPC || error == EAGAIN ? error : EIO;
}

/* Somebody else may have answered. */
static void tell_kernel(struct fanotify_answers *a, int number, int error)
{
	struct requests *r = a->requests;
	int rc = error ? answer_deny(a->group, number, errno_for_kernel(error))
		       : answer_allow(a->group, number);

	if (rc < 0 && errno != ENOENT)
		log_warn("fanotify: the kernel refuses an answer: %s", strerror(errno));
	if (rc == 0)
		atomic_fetch_add(error ? &r->denied : &r->answered, 1);
}

/* On any thread. Once the state is ANSWERED, the slot may have its next request at any time. */
static void answer(struct want *w, int error)
{
	struct taken *t = (struct taken *)w;
	struct fanotify_answers *a = t->owner;
	struct held_request *q = &a->requests->slots[t - a->taken];
	bool expired;

	if (move(q, REQUEST_TAKEN, REQUEST_ANSWERING)) {
		tell_kernel(a, q->fd, error);
		atomic_store(&t->busy, false);
		move(q, REQUEST_ANSWERING, REQUEST_ANSWERED);
		put(a);
		return;
	}
	expired = atomic_load(&q->state) == REQUEST_EXPIRED;
	atomic_store(&t->busy, false);
	if (expired)
		move(q, REQUEST_EXPIRED, REQUEST_ANSWERED);
	if (atomic_load(&q->state) == REQUEST_PENDING) {
		atomic_store(&a->again, true);
		call(a);
	}
	put(a);
}

/* ---- taking ---- */

static void want(struct fanotify_answers *a, struct taken *t, const struct held_request *q)
{
	const struct fanotify_marked marked = { a->files, a->group, a->dir };

	t->want = (struct want){ .done = answer };
	t->owner = a;
	atomic_fetch_add(&a->users, 1);
	if (q->len && !q->ino) {
		fanotify_unknown_want(&marked, q->offset, q->len, &a->losses, &t->want);
		return;
	}
	if (q->len && fanotify_files_want(a->files, q->dev, q->ino, q->offset, q->len, &t->want))
		return;
	log_event(EVENT_FAULT, "fanotify", FIELD("pid", q->pid), FIELD("offset", q->offset),
		FIELD("length", q->len), FIELD("inode", q->ino),
		FIELD("error", "a read of a file that is not served"));
	answer(&t->want, EIO);
}

/* `inherited`: nobody else is there who could have taken it. */
static void take(struct fanotify_answers *a, uint32_t slot, bool inherited)
{
	struct held_request *q = &a->requests->slots[slot];
	struct taken *t = &a->taken[slot];
	uint32_t state = atomic_load(&q->state);

	if (state != REQUEST_PENDING &&
		!(inherited && (state == REQUEST_TAKEN || state == REQUEST_ANSWERING)))
		return;
	if (atomic_exchange(&t->busy, true))
		return; /* answer() says when it may be tried again */
	if (state == REQUEST_TAKEN || move(q, state, REQUEST_TAKEN))
		want(a, t, q);
	else
		atomic_store(&t->busy, false);
}

static void take_all(struct fanotify_answers *a, bool inherited)
{
	for (uint32_t slot = 0; slot < REQUESTS_MAX; slot++)
		take(a, slot, inherited);
}

static void follow(struct fanotify_answers *a)
{
	struct requests *r = a->requests;
	uint32_t head;

	while ((head = atomic_load(&r->head)) != a->tail) {
		if (head - a->tail > REQUESTS_MAX) { /* some were overwritten */
			a->tail = head;
			take_all(a, false);
			continue;
		}
		for (; a->tail != head; a->tail++) {
			uint32_t slot = atomic_load(&r->ring[a->tail % REQUESTS_MAX]);

			if (slot < REQUESTS_MAX)
				take(a, slot, false);
		}
	}
}

static bool wait_for_news(struct fanotify_answers *a)
{
	struct pollfd p[] = { { .fd = a->news, .events = POLLIN },
		{ .fd = a->call, .events = POLLIN },
		{ .fd = fanotify_files_more(a->files), .events = POLLIN } };
	uint64_t n;

	while (poll(p, 3, -1) < 0)
		if (errno != EINTR)
			return false;
	for (int i = 0; i < 2; i++)
		if (p[i].revents && read(p[i].fd, &n, sizeof(n)) < 0 && errno != EAGAIN &&
			errno != EINTR)
			return false;
	return true;
}

static void *run(void *arg)
{
	struct fanotify_answers *a = arg;

	a->tail = atomic_load(&a->requests->head); /* first: what comes later is in the ring */
	take_all(a, true);
	do {
		follow(a);
		fanotify_files_take_notes(a->files);
		fanotify_files_look_on(a->files);
		if (atomic_exchange(&a->again, false))
			take_all(a, false);
	} while (wait_for_news(a) && !atomic_load(&a->stop));
	if (!atomic_load(&a->stop))
		log_error("fanotify: requests are taken no more: %s", strerror(errno));
	return NULL;
}

/* ---- coming and going ---- */

struct fanotify_answers *fanotify_answers_new(
	struct keep *keep, int group, int dir, struct fanotify_files *files, struct error **err)
{
	struct fanotify_answers *a = xzalloc(sizeof(*a));

	a->files = files;
	a->dir = dir;
	a->requests = keep_requests(keep);
	a->news = keep_requests_eventfd(keep);
	a->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	a->group = fcntl(group, F_DUPFD_CLOEXEC, 3);
	atomic_init(&a->users, 1);
	if (a->call >= 0 && a->group >= 0)
		return a;
	error_set(err, errno, "cannot begin to answer events");
	cleanup_fd_(&a->call);
	cleanup_fd_(&a->group);
	free(a);
	return NULL;
}

int fanotify_answers_start(struct fanotify_answers *a, struct error **err)
{
	if (thread_start(&a->thread, run, a, err) < 0)
		return -1;
	a->running = true;
	return 0;
}

void fanotify_answers_lost(struct fanotify_answers *a)
{
	atomic_fetch_add(&a->losses, 1);
}

void fanotify_answers_end(struct fanotify_answers *a)
{
	if (!a)
		return;
	if (a->running) {
		atomic_store(&a->stop, true);
		call(a);
		pthread_join(a->thread, NULL);
	}
	put(a);
}
