// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/transport/fuse_pending.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

/*
 * Whoever moves it to ANSWERED answers. While libfuse is told of interrupted(), it may call that at
 * once, with the request locked, where it must not be answered: so EARLY only notes it.
 */
enum state { BEGINNING, EARLY, WAITING, ANSWERED };

struct fuse_pendings {
	pthread_mutex_t lock; /* of all states, too; within libfuse's lock of a request */
	pthread_cond_t gone; /* one of the list */
	TAILQ_HEAD(, fuse_pending) list;
	struct late late;
	atomic_uint
		users; /* all that have begun, also when they have been dropped, and the owner */
};

struct fuse_pendings *fuse_pendings_new(void)
{
	struct fuse_pendings *all = xzalloc(sizeof(*all));

	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->gone, NULL);
	TAILQ_INIT(&all->list);
	late_init(&all->late);
	atomic_init(&all->users, 1);
	return all;
}

static void let_go(struct fuse_pendings *all)
{
	if (atomic_fetch_sub(&all->users, 1) > 1)
		return;
	pthread_mutex_destroy(&all->lock);
	pthread_cond_destroy(&all->gone);
	late_destroy(&all->late);
	free(all);
}

static void leave_locked(struct fuse_pending *p)
{
	TAILQ_REMOVE(&p->all->list, p, of_all);
	pthread_cond_signal(&p->all->gone);
}

void fuse_pendings_drop(struct fuse_pendings *all)
{
	struct fuse_pending *p, *next;

	if (!all)
		return;
	pthread_mutex_lock(&all->lock);
	for (p = TAILQ_FIRST(&all->list); p; p = next) {
		next = TAILQ_NEXT(p, of_all);
		if (p->state == ANSWERED) /* right now */
			continue;
		p->state = ANSWERED;
		leave_locked(p);
		fuse_reply_none(p->req);
	}
	while (!TAILQ_EMPTY(&all->list))
		pthread_cond_wait(&all->gone, &all->lock);
	pthread_mutex_unlock(&all->lock);
	let_go(all);
}

/*
 * Any signal raises an interrupt, also those that a program expects (timers, SIGCHLD, Go's SIGURG).
 * Reads of files are not ended by them, and beneath a page fault that would be SIGBUS: only a
 * reader that dies is let go. One that we cannot look at is taken to die.
 */
static bool is_dying(pid_t thread)
{
	CLEANUP_FCLOSE FILE *f = NULL;
	char path[64], line[128];
	uint64_t pending;

	snprintf(path, sizeof(path), "/proc/%jd/status", (intmax_t)thread);
	f = thread > 0 ? fopen(path, "re") : NULL;
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SigPnd: %" SCNx64, &pending) == 1)
			return pending >> (SIGKILL - 1) & 1;
	return true;
}

/* The reader has got a signal: when it goes, the fetch goes on. */
static void interrupted(fuse_req_t req, void *arg)
{
	struct fuse_pending *p = arg;
	struct fuse_pendings *all = p->all;
	bool waits;

	if (!is_dying(fuse_req_ctx(req)->pid))
		return;
	pthread_mutex_lock(&all->lock);
	waits = p->state == WAITING;
	if (waits) {
		p->state = ANSWERED;
		leave_locked(p);
	} else if (p->state == BEGINNING) {
		p->state = EARLY;
	}
	pthread_mutex_unlock(&all->lock);
	if (waits)
		fuse_reply_err(req, EINTR);
}

void fuse_pending_begin(struct fuse_pendings *all, struct fuse_pending *p, fuse_req_t req,
	fuse_ino_t node, uint64_t offset, size_t len)
{
	bool waits;

	p->read = (struct late_read){ node, offset, len };
	p->since = late_now();
	p->req = req;
	p->all = all;
	p->state = BEGINNING;
	atomic_fetch_add(&all->users, 1);
	pthread_mutex_lock(&all->lock);
	TAILQ_INSERT_TAIL(&all->list, p, of_all);
	pthread_mutex_unlock(&all->lock);
	fuse_req_interrupt_func(req, interrupted, p);
	pthread_mutex_lock(&all->lock);
	waits = p->state == BEGINNING;
	p->state = waits ? WAITING : ANSWERED;
	if (!waits)
		leave_locked(p);
	pthread_mutex_unlock(&all->lock);
	if (!waits)
		fuse_reply_err(req, EINTR);
}

void fuse_pending_hurry(struct fuse_pending *p)
{
	struct fuse_pendings *all = p->all;
	int error = late_find(&all->late, &p->read, p->since);
	bool waits;

	if (!error)
		return;
	pthread_mutex_lock(&all->lock);
	waits = p->state == WAITING;
	if (waits)
		p->state = ANSWERED;
	pthread_mutex_unlock(&all->lock);
	if (!waits)
		return;
	fuse_req_interrupt_func(p->req, NULL, NULL);
	fuse_reply_err(p->req, error);
	pthread_mutex_lock(&all->lock);
	leave_locked(p);
	pthread_mutex_unlock(&all->lock);
}

bool fuse_pending_claim(struct fuse_pending *p)
{
	struct fuse_pendings *all = p->all;
	bool waits;

	pthread_mutex_lock(&all->lock);
	waits = p->state == WAITING;
	p->state = ANSWERED;
	pthread_mutex_unlock(&all->lock);
	if (waits) /* waits for interrupted(), if it runs right now */
		fuse_req_interrupt_func(p->req, NULL, NULL);
	else
		let_go(all);
	return waits;
}

void fuse_pending_refuse(struct fuse_pending *p, int error)
{
	late_note(&p->all->late, &p->read, p->since, late_now(), error);
	fuse_reply_err(p->req, error);
}

void fuse_pending_end(struct fuse_pending *p)
{
	struct fuse_pendings *all = p->all;

	pthread_mutex_lock(&all->lock);
	leave_locked(p);
	pthread_mutex_unlock(&all->lock);
	let_go(all);
}
