// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Who uses a cache file? Processes of ours hold flock() on it. The kernel, which opens it for a
 * mount, does not, but it counts opens: it grants a write lease only on a file that nobody else
 * has open (fcntl(2), "Leases"; Linux fs/locks.c, check_conflicting_open()). So we ask for one.
 */
#include "config.h"

#include "lib/store/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "lib/base/interrupt.h"
#include "lib/base/log.h"

enum { LOCK_PAUSE_MAX = 20 }; /* milliseconds */
enum use { USE_NONE, USE_OTHERS, USE_UNKNOWN };

int store_pause(unsigned *ms, unsigned max, struct error **err)
{
	struct timespec t = { .tv_nsec = (long)*ms * 1000000 };

	if (interrupt_pending())
		return error_set(err, 0, "interrupted");
	nanosleep(&t, NULL); /* a signal ends it sooner */
	*ms = *ms * 2 < max ? *ms * 2 : max;
	return 0;
}

enum lock_result lock_try(int fd, int operation)
{
	while (flock(fd, operation | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return LOCK_BUSY;
		if (errno != EINTR)
			return LOCK_FAILED;
	}
	return LOCK_TAKEN;
}

/* Not by a flock() that waits: a signal may come to another thread, or just before. */
struct store *store_lock(struct store *s, struct error **err)
{
	unsigned ms = 1;

	pthread_mutex_lock(&s->mutex);
	for (;;) {
		enum lock_result r = lock_try(s->lock_fd, LOCK_EX);

		if (r == LOCK_TAKEN)
			return s;
		if (r == LOCK_FAILED)
			error_set(err, errno, "cannot lock %s/lock", s->dir);
		if (r == LOCK_FAILED || store_pause(&ms, LOCK_PAUSE_MAX, err) < 0)
			break;
	}
	pthread_mutex_unlock(&s->mutex);
	return NULL;
}

void store_unlock(struct store *s)
{
	flock(s->lock_fd, LOCK_UN);
	pthread_mutex_unlock(&s->mutex);
}

/*
 * Who opens the file while we have the lease waits until we have let go of it, and we get a
 * signal, which must be one that is ignored by default. Of our own processes nobody does: they open
 * under the store's lock.
 */
static enum use look_for_others(int fd)
{
	bool refused;

	fcntl(fd, F_SETSIG, SIGURG);
	refused = fcntl(fd, F_SETLEASE, F_WRLCK) < 0;
	if (!refused) {
		fcntl(fd, F_SETLEASE, F_UNLCK);
		return USE_NONE;
	}
	if (errno == EAGAIN || errno == EBUSY)
		return USE_OTHERS;
	log_debug("no leases here (%s): mounts are not seen", strerror(errno));
	return USE_UNKNOWN;
}

bool store_in_use(const struct store *s, const char *stem)
{
	char name[STORE_NAME_MAX];
	CLEANUP_FD int fd = openat(s->blobs_fd, store_name(stem, STORE_CACHE, name),
		O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	/* another program's lease is a use as well (open(2), EWOULDBLOCK); and what cannot be seen,
	 * for want of descriptors or memory, may be one */
	if (fd < 0)
		return errno != ENOENT && errno != ELOOP;
	return lock_try(fd, LOCK_EX) == LOCK_BUSY || look_for_others(fd) == USE_OTHERS;
}

bool store_file_in_use(int dir, const char *name)
{
	CLEANUP_FD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return errno != ENOENT;
	return look_for_others(fd) != USE_NONE;
}
