/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The holder's program: one thread, one table, nothing allocated after its start.
 *
 * Where its descriptors lie matters, since the kernel names an event by the number that the
 * reader of the group got for it, and an answer reaches the first event of that number:
 *
 *	0 1 2        standard ones, always open
 *	3 ...        events, and placeholders for numbers that a former holder left unanswered
 *	`base` ...   its own, and what it keeps
 */
#ifndef HOLDER_HOLDER_H
#define HOLDER_HOLDER_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/serve/holder/answer.h"
#include "lib/serve/holder/handover.h"
#include "lib/serve/holder/keep.h"
#include "lib/serve/holder/presence.h"
#include "lib/serve/holder/requests.h"
#include "lib/serve/linger.h"

#define HOLDER_ENV_MAX 1024
#define HOLDER_NOTED   8 /* as many readers of a blob as the engine follows */
#define HELD_PATIENCE  10 /* times the deadline, until a slot that expired is used again */

struct kept {
	int fd;
	char name[KEEP_NAME_MAX + 1];
};

/* A slot of the requests that is in use, as only the holder knows it: the other end could write
 * anything into shared memory. */
struct held {
	int fd; /* an event's or a placeholder; -1: closed, or not needed */
	bool denied; /* at the deadline, while the worker was answering */
	uint64_t patience; /* EXPIRED: until when the worker may believe that it has the request */
};

/* Steps of a file that the worker was last told of, plus one. */
struct noted {
	uint32_t steps[HOLDER_NOTED];
	unsigned next;
};

struct holder {
	/* limits */
	int base;
	unsigned kept_max, held_max;
	uint64_t deadline; /* nanoseconds */

	/* what it keeps */
	struct kept kept[KEEP_MAX];
	unsigned n_kept;
	size_t names_size;

	/* requests */
	struct requests *requests;
	int group, wake; /* kept ones; -1: none */
	struct held held[REQUESTS_MAX];
	uint32_t used[REQUESTS_MAX];
	unsigned n_used;
	uint32_t free[REQUESTS_MAX]; /* a ring: what was freed last is used last */
	unsigned free_at, n_free;
	uint64_t expired_at; /* when a request last met its deadline; 0: never */

	/* hits */
	struct presence *presence; /* NULL: there is none, or none that is known */
	struct noted noted[PRESENCE_FILES];
	bool notes_wait; /* the worker was not woken for them yet */
	uint64_t notes_told; /* when it was */

	/* the worker */
	char *const *argv;
	char *env[HOLDER_ENV_MAX + 8];
	unsigned n_env;
	sigset_t signals_before;
	char oom_before[16];
	pid_t child; /* 0: the worker is no child */
	int pidfd, socket; /* -1: none */
	uint64_t started; /* CLOCK_MONOTONIC, nanoseconds */
	uint64_t start_at; /* the next; with pidfd -1 */
	uint64_t backoff;
	bool ready, ever_ready; /* this one; any */
	bool bye;

	/* itself */
	int signals, null;
	bool may_linger; /* there is more than one processor */
	struct lingerer linger;
	uint64_t looked; /* when it was, at all that it waits for */
	bool stopping;
	uint64_t kill_at; /* with stopping */
};

/* start.c: everything that needs to be done once; what fails ends the process. */
void holder_start(struct holder *h, int argc, char **argv);
/* loop.c */
void holder_run(struct holder *h) __attribute__((noreturn));

/* kept.c. `fd` is moved above base, or closed. 0 or an errno value. */
int kept_put(struct holder *h, const char *name, int fd);
void kept_drop(struct holder *h, const char *name);
int kept_find(const struct holder *h, const char *name);
/* The worker's messages. */
void kept_receive(struct holder *h);

/* adopt.c */
void held_adopt(struct holder *h);

/* held.c */
bool held_may_read(const struct holder *h);
void held_read(struct holder *h);
void held_sweep(struct holder *h, uint64_t now);
void held_wake_worker(const struct holder *h);
/* The worker is dead: it believes in nothing any more. */
void held_forget_expired(struct holder *h);
/* A slot is in use from now on, with that descriptor; it is free; the worker is to look at it. */
void held_use(struct holder *h, uint32_t slot, int fd);
void held_put_free(struct holder *h, uint32_t slot);
void held_announce(struct holder *h, uint32_t slot);

/* hits.c */
void hits_know(struct holder *h, int fd); /* the table of what is there is that one */
void hits_forget(struct holder *h);
/* True: all of it is there, and the read goes on. Else nothing was done. The number is open. */
bool hits_answer(
	struct holder *h, int number, const struct presence_id *id, uint64_t offset, uint64_t len);
/* Wakes the worker for its notes, or says in how many nanoseconds it is to be called again. */
uint64_t hits_tell(struct holder *h, uint64_t now);

/* worker.c */
void worker_start(struct holder *h);
void worker_adopt(struct holder *h);
void worker_died(struct holder *h);
void worker_signal(struct holder *h, int signal);

/* start.c: things that several need */
uint64_t holder_now(void);
void holder_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Close-on-exec, at or above base. Takes fd over; ends the process when there is no room. */
int holder_raise(struct holder *h, int fd);

#endif
