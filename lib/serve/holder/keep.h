/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Descriptors that outlive the worker: the holder keeps a copy of each, and so does the service
 * manager where there is one (sd_notify(3) FDSTORE=1; the protocol of $NOTIFY_SOCKET and
 * $LISTEN_FDS, systemd 252). A new worker finds them by name, whoever has kept them.
 */
#ifndef HOLDER_KEEP_H
#define HOLDER_KEEP_H

#include <stdbool.h>

#include "lib/base/error.h"

struct keep;
struct requests;

#define KEEP_NAME_MAX 96 /* printable ASCII without ':' (sd_pid_notify_with_fds(3): 255) */
#define KEEP_MAX      4096 /* descriptors */

/* Names of those that everybody must agree on. */
#define KEEP_FANOTIFY "fanotify" /* the group; the holder reads its events */
#define KEEP_REQUESTS "requests" /* requests.h */
#define KEEP_PRESENCE "presence" /* presence.h; a worker brings it */
#define KEEP_SOCKET   "control" /* the listening control socket */

/*
 * Become the holder of a program: execs erofs-convert-holder (beside this executable, else in
 * LIBEXECDIR), which starts `argv` as its worker, with the descriptors that this process was given
 * by a service manager, and starts it again when it dies, as long as it does not end by itself.
 * Returns only when that fails. `argv[0]` is replaced by this executable's path.
 */
int keep_exec_holder(char *const argv[], struct error **err);

/* Is this process the worker of a holder? */
bool keep_is_worker(void);

/*
 * Take over what was kept, as the worker. Descriptors get close-on-exec. Starts a thread that
 * beats for the watchdog and, when the holder dies, starts a new one with everything that is kept.
 */
struct keep *keep_open(struct error **err);
void keep_close(struct keep *k); /* the holder ends too, once this process does; NULL allowed */

struct requests *keep_requests(const struct keep *k);
/* Written (eventfd) by the holder when there is something new in the requests' ring. */
int keep_requests_eventfd(const struct keep *k);

/* The descriptor of that name, a copy of the caller's own; -1 when there is none. */
int keep_find(const struct keep *k, const char *name);
bool keep_has(const struct keep *k, const char *name);
/* The i-th name that begins with `prefix`, NULL after the last. It stays k's. */
const char *keep_name(const struct keep *k, const char *prefix, unsigned i);

/* Keep a copy under the name, in the place of what has it. Once this returns, holder (and service
 * manager) have it. A manager replaces in two steps: if holder and worker die between them, neither
 * is kept, unless it is the same open file (Linux 6.10 tells). */
int keep_put(struct keep *k, const char *name, int fd, struct error **err);
void keep_drop(struct keep *k, const char *name);

/* Does a service manager keep copies too, so that they survive both processes? */
bool keep_is_backed(const struct keep *k);

/* READY=1, STATUS=...; nothing without a service manager. */
void keep_ready(struct keep *k);
void keep_status(struct keep *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Events whose numbers nobody knows, of a group whose requests have been lost: all numbers that are
 * not in the requests are denied. The kernel asks once more for a page that could not be read, so
 * one that is denied a second time is an error. A new holder does that by itself. Returns how many
 * there were.
 */
unsigned keep_deny_unknown(int group, struct requests *r);

#endif
