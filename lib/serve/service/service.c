// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The daemon's mounts and transports: coming, being looked after, going. */
#include "config.h"

#include "lib/serve/service.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/log_event.h"
#include "lib/base/mem.h"
#include "lib/base/thread.h"
#include "lib/serve/service/part.h"

enum {
	REAP_EVERY = 2, /* seconds */
	LINGER_MS = 5000, /* for who has files open when the daemon ends */
	LINGER_LOOK_MS = 20,
	MOUNTS_OF_ONE_USER = 100, /* who is not root */
};

#define KEPT_OWNER "store-owner" /* store_owner_fd() */

/* ---- the start ---- */

/*
 * What is ours in the store stays so while this process is replaced: else another daemon could have
 * marks on the same files by then, or take our mounts for its own. The descriptor may be of a store
 * that is not there any more: then the new one takes its place.
 */
static int keep_own(struct service *s, struct store *store, struct error **err)
{
	int kept = keep_find(s->keep, KEPT_OWNER);

	if (kept >= 0 && store_go_on_as(store, kept))
		return 0;
	return keep_put(s->keep, KEPT_OWNER, store_owner_fd(store), err);
}

static int open_store(struct service *s, const struct service_options *o, struct error **err)
{
	const char *dir = o->store;
	CLEANUP_FREE char *chosen = NULL, *real = NULL;
	CLEANUP_STORE struct store *plain = NULL;
	struct store *store;

	if (!dir)
		dir = chosen = store_default_dir(err);
	plain = dir ? store_open(dir, s->store_limit, err) : NULL;
	if (!plain)
		return -1;
	real = xstrdup(store_dir(plain));
	transports_open_fanotify(s, real);
	if (s->store_fd < 0)
		s->store_fd = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	store = store_open_at(s->store_fd, real, s->store_limit, err);
	if (!store)
		return -1;
	s->blobs = blob_set_new(store, true);
	if (keep_own(s, store, err) < 0)
		return -1;
	blob_set_deadline(s->blobs, s->deadline);
	if (s->fanotify)
		blob_set_add_transport(s->blobs, s->fanotify);
	if (mkdirat(s->store_fd, "mounts", 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s/mounts", real);
	s->mounts_fd =
		openat(s->store_fd, "mounts", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return s->mounts_fd < 0 ? error_set(err, errno, "cannot open %s/mounts", real) : 0;
}

static void load_one(struct service *s, const char *id)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct mounted *m = mounted_load(s, id, &err);

	if (m)
		LIST_INSERT_HEAD(&s->mounts, m, of_service);
	else if (err && err->code == EWOULDBLOCK)
		log_debug("mount %s is another daemon's", id);
	else if (err)
		log_warn("mount %s is passed over: %s", id, err->msg);
}

static int load_all(struct service *s, struct error **err)
{
	int copy = openat(s->mounts_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!d)
		return error_set(err, errno, "cannot read the mounts' directory");
	while ((e = readdir(d)))
		if (strlen(e->d_name) == SERVICE_ID_MAX - 1)
			load_one(s, e->d_name);
	closedir(d);
	return 0;
}

static int restore_all(struct service *s, struct error **err)
{
	struct mounted *m;

	if (load_all(s, err) < 0)
		return -1;
	LIST_FOREACH(m, &s->mounts, of_service)
	{
		mounted_restore(m);
	}
	return 0;
}

static void tell(enum log_event_kind what, const struct mounted *m)
{
	log_event(what, NULL, FIELD("mount", m->id), FIELD("image", m->asked.image),
		FIELD("manifest", &m->manifest), FIELD("mountpoint", m->asked.mountpoint),
		FIELD("transport", service_transport_name(m->asked.transport)));
}

static int start_all(struct service *s, struct error **err)
{
	struct mounted *m;

	if (blob_set_start(s->blobs, err) < 0)
		return -1;
	if (s->fanotify && s->fanotify->start(s->fanotify, err) < 0)
		return -1;
	if (s->fuse_device && s->fuse_device->start(s->fuse_device, err) < 0)
		return -1;
	if (s->cachefiles && s->cachefiles->start(s->cachefiles, err) < 0)
		return -1;
	LIST_FOREACH(m, &s->mounts, of_service)
	{
		CLEANUP_ERROR struct error *why = NULL;

		mounted_replace(m);
		if (mounted_resume(m, &why) < 0)
			log_warn("mount %s of %s is not served: %s", m->id, m->asked.image,
				why->msg);
		else if (m->state == MOUNTED_SERVED)
			tell(EVENT_RESTORE, m);
	}
	store_disown_rest(blob_set_store(s->blobs));
	return 0;
}

static void *reap_loop(void *arg)
{
	struct service *s = arg;

	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += REAP_EVERY;
		pthread_cond_timedwait(&s->stopping, &s->lock, &until);
		pthread_mutex_unlock(&s->lock);
		service_reap(s);
		log_event_flush(false);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static struct service *service_new(const struct service_options *o, struct keep *keep)
{
	struct service *s = xzalloc(sizeof(*s));
	pthread_condattr_t attr;

	s->runtime = xstrdup(o->runtime);
	s->store_limit = o->store_limit;
	s->deadline = o->deadline ? o->deadline : ENGINE_OPTIONS_DEFAULT.deadline;
	s->strict = o->strict;
	s->config = o->config;
	s->keep = keep;
	s->store_fd = s->mounts_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->open_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->stopping, &attr);
	pthread_condattr_destroy(&attr);
	LIST_INIT(&s->mounts);
	return s;
}

static void cleanup_service_(struct service **s)
{
	service_stop(*s);
}

struct service *service_start(
	const struct service_options *o, struct keep *keep, struct error **err)
{
	CLEANUP(cleanup_service_) struct service *s = service_new(o, keep);

	if (open_store(s, o, err) < 0)
		return NULL;
	s->automatic = transports_choose(s, o->transport);
	if (transports_check(s, o->transport, err) < 0)
		return NULL;
	if (restore_all(s, err) < 0 || start_all(s, err) < 0)
		return NULL;
	if (thread_start(&s->reaper, reap_loop, s, err) < 0)
		return NULL;
	s->reaping = true;
	return take_ptr(s);
}

/* ---- at work ---- */

/* Each costs memory, descriptors and a copy of its bootstrap, as long as its descriptor is open. */
static int check_count(struct service *s, const struct caller *who, struct error **err)
{
	struct mounted *m;
	unsigned n = 0;

	if (caller_is_trusted(who))
		return 0;
	pthread_mutex_lock(&s->lock);
	LIST_FOREACH(m, &s->mounts, of_service)
	{
		n += m->asked.caller.uid == who->uid;
	}
	pthread_mutex_unlock(&s->lock);
	if (n < MOUNTS_OF_ONE_USER)
		return 0;
	error_set(err, 0, "user %u has %u mounts already", (unsigned)who->uid, n);
	return error_hint(err, "unmounting what is not needed");
}

int service_mount(struct service *s, const struct service_request *r, const _Atomic bool *gone,
	struct service_answer *a, struct error **err)
{
	struct mounted *m =
		check_count(s, r->caller, err) < 0 ? NULL : mounted_new(s, r, gone, &a->mount, err);

	if (!m)
		return -1;
	memcpy(a->id, m->id, sizeof(a->id));
	a->manifest = m->manifest;
	a->bootstrap = m->bootstrap;
	a->transport = m->asked.transport;
	pthread_mutex_lock(&s->lock);
	LIST_INSERT_HEAD(&s->mounts, m, of_service);
	pthread_mutex_unlock(&s->lock);
	tell(EVENT_MOUNT, m);
	return 0;
}

void service_reap(struct service *s)
{
	LIST_HEAD(, mounted) gone = LIST_HEAD_INITIALIZER(gone);
	struct mounted *m, *next;

	pthread_mutex_lock(&s->lock);
	for (m = LIST_FIRST(&s->mounts); m; m = next) {
		next = LIST_NEXT(m, of_service);
		if (!mounted_is_gone(m))
			continue;
		LIST_REMOVE(m, of_service);
		LIST_INSERT_HEAD(&gone, m, of_service);
	}
	pthread_mutex_unlock(&s->lock);
	while ((m = LIST_FIRST(&gone))) {
		LIST_REMOVE(m, of_service);
		tell(EVENT_UMOUNT, m);
		mounted_free(m, true);
	}
}

unsigned service_n_mounts(struct service *s)
{
	struct mounted *m;
	unsigned n = 0;

	pthread_mutex_lock(&s->lock);
	LIST_FOREACH(m, &s->mounts, of_service)
	{
		n++;
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* ---- the end ---- */

static void stop_reaper(struct service *s)
{
	if (!s->reaping)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->stopping);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->reaper, NULL);
}

/* Without who keeps the group, what is not there would read as zeros from now on. */
static void abandon(struct mounted *m)
{
	if (m->state != MOUNTED_SERVED || m->asked.transport != SERVICE_FANOTIFY)
		return;
	mount_detach_everywhere(m);
	ways_cancel(&m->ways);
	log_event(EVENT_UNTRUSTED, NULL, FIELD("mount", m->id), FIELD("image", m->asked.image),
		FIELD("mountpoint", m->asked.mountpoint),
		FIELD("reason", "the daemon ends, and nobody holds its reads any more"));
}

static bool has_abandoned(const struct service *s)
{
	const struct mounted *m;

	LIST_FOREACH(m, &s->mounts, of_service)
	{
		if (m->asked.transport == SERVICE_FANOTIFY && m->state == MOUNTED_SERVED &&
			!mounted_is_gone(m))
			return true;
	}
	return false;
}

/*
 * A read that fails is asked for again, by the kernel itself: until the readers have given up, they
 * must be denied, not left alone with holes.
 */
static void abandon_all(struct service *s)
{
	const struct timespec pause = { .tv_nsec = LINGER_LOOK_MS * 1000000L };
	struct mounted *m;

	LIST_FOREACH(m, &s->mounts, of_service)
	{
		abandon(m);
	}
	for (unsigned i = 0; i < LINGER_MS / LINGER_LOOK_MS && has_abandoned(s); i++)
		nanosleep(&pause, NULL);
}

static void close_transport(struct service *s, struct device_transport *t)
{
	if (!t)
		return;
	if (s->blobs)
		blob_set_remove_transport(s->blobs, t);
	t->close(t);
}

bool service_stop(struct service *s)
{
	struct mounted *m;

	if (!s)
		return false;
	stop_reaper(s);
	if (!LIST_EMPTY(&s->mounts) && keep_is_backed(s->keep))
		return true;
	abandon_all(s);
	/* they know the mounts' blobs; what still waits for the engine gets EIO at its end */
	close_transport(s, s->fuse_device);
	close_transport(s, s->cachefiles);
	close_transport(s, s->fanotify);
	while ((m = LIST_FIRST(&s->mounts))) {
		LIST_REMOVE(m, of_service);
		mounted_free(m, false);
	}
	if (s->reaping) /* else another process may try again */
		keep_drop(s->keep, KEPT_OWNER);
	blob_set_free(s->blobs);
	cleanup_fd_(&s->store_fd);
	cleanup_fd_(&s->mounts_fd);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->open_lock);
	pthread_cond_destroy(&s->stopping);
	free(s->no_fanotify);
	free(s->runtime);
	free(s);
	return false;
}
