// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Room in the kernel's cache: files of mounts that are gone, and, when the kernel says that the
 * disk becomes full, blobs that no mount has, the least recently read first. The kernel itself
 * refuses what is in use.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/transport/cachefiles_part.h"

enum {
	LOOK_EVERY = 2, /* seconds */
	ROOM_WAIT = 20, /* seconds */
};

struct victim {
	int dir; /* shared by those in it */
	char *name;
	struct timespec used;
};

struct victims {
	struct victim *of;
	size_t n, cap;
	int *dirs;
	size_t n_dirs, cap_dirs;
};

/* ---- what there is ---- */

static void look_at(struct victims *v, int dir, const char *name)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return;
	v->of = xgrow(v->of, v->n, &v->cap, sizeof(*v->of));
	v->of[v->n++] = (struct victim){ dir, xstrdup(name), st.st_atim };
}

/* An object's file begins with D, and lies in one of its volume's directories. */
static void look_in(struct victims *v, int parent, const char *name, unsigned depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return;
	fd = depth ? -1 : fcntl(dirfd(d), F_DUPFD_CLOEXEC, 3);
	if (fd >= 0) {
		v->dirs = xgrow(v->dirs, v->n_dirs, &v->cap_dirs, sizeof(*v->dirs));
		v->dirs[v->n_dirs++] = fd;
	}
	while ((e = readdir(d))) {
		if (depth && (e->d_name[0] == 'I' || e->d_name[0] == '@'))
			look_in(v, dirfd(d), e->d_name, depth - 1);
		else if (fd >= 0 && e->d_name[0] == 'D')
			look_at(v, fd, e->d_name);
	}
	closedir(d);
}

static int by_use(const void *a, const void *b)
{
	const struct timespec *x = &((const struct victim *)a)->used,
			      *y = &((const struct victim *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static void find_victims(struct cachefiles *c, struct victims *v)
{
	CLEANUP_FREE char *path = xasprintf("%s/cache", c->dir);

	*v = (struct victims){ 0 };
	look_in(v, AT_FDCWD, path, 2);
	if (v->n)
		qsort(v->of, v->n, sizeof(*v->of), by_use);
}

static void victims_free(struct victims *v)
{
	while (v->n)
		free(v->of[--v->n].name);
	while (v->n_dirs)
		close(v->dirs[--v->n_dirs]);
	free(v->of);
	free(v->dirs);
}

/* ---- what goes ---- */

/* Is a cookie of a mount, not of a blob, and the mount is gone? */
static bool is_stale(struct cachefiles *c, const char *cookie)
{
	bool known;

	if (strlen(cookie) == CACHEFILES_COOKIE_MAX)
		return false;
	pthread_rwlock_rdlock(&c->sources_lock);
	known = cache_source_find(c, cookie, strlen(cookie)) != NULL;
	pthread_rwlock_unlock(&c->sources_lock);
	return !known;
}

/* By its name in the working directory, which is this thread's own. 0 or the errno. */
static int cull(struct cachefiles *c, const struct victim *v)
{
	struct cachefiles_command command;
	struct fault fault;

	if (fchdir(v->dir) < 0)
		return errno;
	if (cachefiles_put_cull(&command, v->name, &fault) < 0)
		return EINVAL;
	return cachefiles_command(c, &command) < 0 ? errno : 0;
}

static bool is_full(const struct cachefiles *c)
{
	struct pollfd p = { .fd = c->dev, .events = POLLOUT };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLOUT);
}

/* Short of what the kernel wants to have free before it is content. */
static bool is_short(const struct cachefiles *c, const struct victim *v)
{
	struct statvfs st;

	return fstatvfs(v->dir, &st) == 0 &&
	       (st.f_bavail / c->content_blocks < st.f_blocks / 100 ||
		       st.f_ffree / c->content_files < st.f_files / 100);
}

/* `room`: blobs, too, as long as there is too little. What is asked for again comes from the store.
 * True: a file that should go is still in use. */
static bool look_through(struct cachefiles *c, bool room, bool *gained)
{
	struct victims v;
	bool left = false;

	*gained = false;
	find_victims(c, &v);
	for (size_t i = 0; i < v.n; i++) {
		bool stale = is_stale(c, v.of[i].name + 1);
		int code = stale || (room && is_short(c, &v.of[i])) ? cull(c, &v.of[i]) : -1;

		*gained |= code == 0;
		left |= stale && code == EBUSY;
	}
	if (chdir("/") < 0) /* the directories are not to be kept */
		log_debug("cachefiles: chdir: %s", strerror(errno));
	victims_free(&v);
	return left;
}

/* ---- the thread ---- */

static void wait_a_while(struct culling *k)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += LOOK_EVERY;
	if (!k->stop && k->asked <= k->rounds)
		pthread_cond_timedwait(&k->wake, &k->lock, &until);
}

void *cache_culler(void *arg)
{
	struct cachefiles *c = arg;
	struct culling *k = &c->culling;

	pthread_mutex_lock(&k->lock);
	while (!k->stop) {
		uint64_t asked = k->asked;
		bool room = asked > k->rounds || is_full(c), sweep = k->sweep, gained = false;

		k->sweep = false;
		pthread_mutex_unlock(&k->lock);
		if (room || sweep)
			sweep = look_through(c, room, &gained);
		pthread_mutex_lock(&k->lock);
		k->sweep |= sweep;
		k->gained = gained;
		k->rounds = asked;
		pthread_cond_broadcast(&k->done);
		wait_a_while(k);
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

bool cache_make_room(struct cachefiles *c)
{
	struct culling *k = &c->culling;
	struct timespec until;
	uint64_t mine;
	bool gained;

	if (!c->culls)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ROOM_WAIT;
	pthread_mutex_lock(&k->lock);
	mine = ++k->asked;
	pthread_cond_signal(&k->wake);
	while (!k->stop && k->rounds < mine)
		if (pthread_cond_timedwait(&k->done, &k->lock, &until) != 0)
			break;
	gained = k->rounds >= mine && k->gained;
	pthread_mutex_unlock(&k->lock);
	return gained;
}

void cache_sweep_later(struct cachefiles *c)
{
	pthread_mutex_lock(&c->culling.lock);
	c->culling.sweep = true;
	pthread_mutex_unlock(&c->culling.lock);
}
