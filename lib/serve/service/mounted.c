// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* One mount, from being asked for to being gone. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/log_event.h"
#include "lib/base/mem.h"
#include "lib/image/parts.h"
#include "lib/mount/writable.h"
#include "lib/serve/service/part.h"
#include "lib/serve/transport/fuse.h"
#include "lib/stream/spool.h"

/* ---- making one ---- */

static void make_id(char id[static SERVICE_ID_MAX])
{
	uint64_t r[2];

	while (getrandom(r, sizeof(r), 0) != sizeof(r))
		;
	snprintf(id, SERVICE_ID_MAX, "%016" PRIx64 "%016" PRIx64, r[0], r[1]);
}

/* `bootstrap` is taken over. */
static int open_session(struct mounted *m, int bootstrap, struct error **err)
{
	struct session_options o = SESSION_OPTIONS_DEFAULT;
	CLEANUP_FD int fd = bootstrap;

	if (ways_open_source(&m->ways, m->image, err) < 0)
		return -1;
	o.blobs = m->service->blobs;
	o.source = m->ways.source;
	o.bootstrap_fd = take_fd(&fd);
	o.remote = m->ways.ref.transport == TRANSPORT_DOCKER;
	m->session = session_open(m->image, &o, err);
	if (!m->session)
		return -1;
	m->manifest = m->image->manifest_digest;
	m->bootstrap = m->session->found.bootstrap->digest;
	return 0;
}

/* Which transport it comes to. */
static int choose_transport(struct mounted *m, struct error **err)
{
	struct service *s = m->service;
	bool strict = m->asked.strict || s->strict;

	m->automatic = m->asked.transport == SERVICE_AUTO;
	if (m->automatic)
		m->asked.transport = s->automatic == SERVICE_FANOTIFY && strict
					     ? SERVICE_FUSE_DEVICE
					     : s->automatic;
	if (m->asked.transport == SERVICE_FANOTIFY && strict) {
		error_set(err, 0, "%s: the transport fanotify is not strict", m->asked.image);
		return error_hint(err, "--transport fuse-device: when every process of the daemon "
				       "dies, its reads fail");
	}
	if (m->asked.transport == SERVICE_FUSE)
		return 0;
	m->transport = service_device_transport(s, m->asked.transport, err);
	if (!m->transport && m->automatic && m->asked.transport == SERVICE_FANOTIFY) {
		log_debug("auto: no fanotify: %s; fuse-device", (*err)->msg);
		error_free(take_ptr(*err));
		m->asked.transport = SERVICE_FUSE_DEVICE;
		m->transport = service_device_transport(s, m->asked.transport, err);
	}
	return m->transport ? 0 : -1;
}

static int check_tree(const struct mounted *m, struct error **err)
{
	if (!m->asked.writable)
		return 0;
	if (m->asked.transport == SERVICE_FUSE) {
		error_set(err, 0, "%s: --rw needs the kernel's EROFS", m->asked.image);
		return error_hint(err, "another --transport");
	}
	return writable_check(m->session->tree, err) < 0 ? error_wrap(err, "%s", m->asked.image)
							 : 0;
}

static int save(struct mounted *m, struct error **err)
{
	m->dir = state_open_dir(m->service, m->id, true, err);
	if (m->dir < 0)
		return -1;
	if (state_save_bootstrap(m->dir, m->session->bootstrap_fd, err) < 0 ||
		state_save_image(m->dir, m->image, err) < 0)
		return -1;
	return state_save_asked(m->service, m->dir, m->id, &m->asked, &m->devs, err);
}

static char *fuse_name(const struct mounted *m)
{
	return xasprintf("fuse-%s", m->id);
}

/* In a process that goes on with one, it is -1. */
static int mount_by_fuse(struct mounted *m, int *mount, struct error **err)
{
	CLEANUP_FREE char *name = fuse_name(m);
	unsigned attributes = MOUNT_ATTR_RDONLY;

	if (!caller_is_trusted(&m->asked.caller))
		attributes |= MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	m->fuse = fuse_mount_begin_detached(
		m->session, m->service->keep, name, m->asked.image, attributes, mount, err);
	return m->fuse ? 0 : -1;
}

/* What is tried next: a kernel may have the device of cachefiles, and EROFS without it. */
static void fall_back(struct mounted *m, const char *why)
{
	enum service_transport was = m->asked.transport;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *no = NULL;

	m->transport = NULL;
	if (was == SERVICE_CACHEFILES && fuse_device_transport_supported(&no))
		m->transport = service_device_transport(m->service, SERVICE_FUSE_DEVICE, &err);
	m->asked.transport = m->transport ? SERVICE_FUSE_DEVICE : SERVICE_FUSE;
	log_debug("auto: no %s: %s; %s", service_transport_name(was), why,
		service_transport_name(m->asked.transport));
}

static int mount_it(struct mounted *m, struct error **err)
{
	int mount = -1;

	while (m->asked.transport != SERVICE_FUSE) {
		CLEANUP_ERROR struct error *why = NULL;

		mount = kernel_mount(m, &why);
		if (mount >= 0)
			return mount;
		if (m->automatic)
			fall_back(m, why->msg);
		if (!m->automatic || (m->asked.writable && m->asked.transport == SERVICE_FUSE)) {
			*err = take_ptr(why);
			return -1;
		}
	}
	return mount_by_fuse(m, &mount, err) < 0 ? -1 : mount;
}

static int make_mount(struct mounted *m, const _Atomic bool *gone, struct error **err)
{
	CLEANUP_FD int mount = -1;

	if (m->asked.prefetch == SERVICE_PREFETCH_ALL &&
		session_fetch_all(m->session, gone, err) < 0)
		return error_wrap(err, "%s", m->asked.image);
	mount = mount_it(m, err);
	if (mount < 0)
		return error_wrap(err, "%s", m->asked.image);
	m->devs.now = device_of_mount(mount);
	if (state_save_asked(m->service, m->dir, m->id, &m->asked, &m->devs, err) < 0)
		return -1;
	return take_fd(&mount);
}

static int begin(struct mounted *m, const _Atomic bool *gone, struct error **err)
{
	if (ways_begin(&m->ways, &m->asked, m->service, err) < 0 || choose_transport(m, err) < 0)
		return -1;
	m->image = ways_open_image(&m->ways, &m->asked, err);
	if (!m->image || open_session(m, -1, err) < 0 || check_tree(m, err) < 0 ||
		rights_check(m, err) < 0 || save(m, err) < 0)
		return -1;
	return make_mount(m, gone, err);
}

static struct mounted *mounted_begin(struct service *s)
{
	struct mounted *m = xzalloc(sizeof(*m));

	m->service = s;
	m->dir = -1;
	return m;
}

struct mounted *mounted_new(struct service *s, const struct service_request *r,
	const _Atomic bool *gone, int *mount, struct error **err)
{
	struct mounted *m = mounted_begin(s);

	make_id(m->id);
	asked_copy(&m->asked, r);
	*mount = begin(m, gone, err);
	if (*mount >= 0 && mounted_resume(m, err) == 0)
		return m;
	if (*mount >= 0)
		close(*mount);
	mounted_free(m, true);
	return NULL;
}

int mounted_resume(struct mounted *m, struct error **err)
{
	if (!m->session)
		return 0;
	if (!m->fuse)
		session_forget_tree(m->session);
	else if (fuse_mount_run(m->fuse, err) < 0)
		return -1;
	if (m->asked.prefetch != SERVICE_PREFETCH_NONE)
		session_prefetch(m->session);
	return 0;
}

/* ---- going on with one ---- */

/* A copy: whether somebody has the file itself open tells whether it is mounted. */
static int copy_bootstrap(const struct mounted *m, struct error **err)
{
	CLEANUP_FD int fd = openat(m->dir, STATE_BOOTSTRAP, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP_STREAM struct stream *stream = NULL;
	struct stat st;
	uint64_t size;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, errno, "its bootstrap is not there");
	stream = stream_from_range(take_fd(&fd), 0, (uint64_t)st.st_size, "the bootstrap");
	return stream_spool(stream, &size, err);
}

/*
 * Nobody has to be asked for what is saved. A layout's tag may mean another image by now, but its
 * blobs are where they were.
 */
static struct image_source *open_saved_image(struct mounted *m, struct error **err)
{
	CLEANUP_FREE char *path = state_path(m->service, m->id, "image");
	CLEANUP_FREE char *spec = xasprintf("oci:%s", path);
	struct image_source *image = parts_open_image(spec, NULL, NULL, err);

	if (image && m->ways.ref.transport == TRANSPORT_OCI) {
		free(image->ref.path);
		image->ref.path = xstrdup(m->ways.ref.path);
	}
	return image;
}

static int open_saved(struct mounted *m, struct error **err)
{
	CLEANUP_FD int bootstrap = -1;

	if (ways_begin(&m->ways, &m->asked, m->service, err) < 0)
		return -1;
	m->image = open_saved_image(m, err);
	if (!m->image)
		return -1;
	bootstrap = copy_bootstrap(m, err);
	return bootstrap < 0 ? -1 : open_session(m, take_fd(&bootstrap), err);
}

static int mounted_elsewhere(struct error **err)
{
	return error_set(err, 0, "its devices are dead, and it is mounted elsewhere: mount again");
}

/* A mount that is a new one takes the place of the old one, which nobody can answer any more. */
static int restore_fuse(struct mounted *m, struct error **err)
{
	CLEANUP_FD int mount = -1;

	if (m->former.n && !mount_places_are_ours(&m->former))
		return mounted_elsewhere(err);
	if (open_saved(m, err) < 0 || mount_by_fuse(m, &mount, err) < 0)
		return -1;
	return mount < 0 || mount_places_replace(m, mount, err) > 0 ? 0 : -1;
}

static int restore(struct mounted *m, struct error **err)
{
	if (m->asked.transport == SERVICE_FUSE)
		return restore_fuse(m, err);
	if (m->asked.transport == SERVICE_FANOTIFY && m->service->fanotify_lost) {
		m->state = MOUNTED_UNTRUSTED;
		return 0;
	}
	m->transport = service_device_transport(m->service, m->asked.transport, err);
	if (!m->transport || open_saved(m, err) < 0)
		return -1;
	if ((m->transport->kind == DEVICE_FUSE && m->service->fuse_device_lost) ||
		(m->transport->kind == DEVICE_CACHEFILES && m->service->cachefiles_lost)) {
		m->state = MOUNTED_LOST; /* until the service has started */
		return 0;
	}
	return kernel_mount_adopt(m, err);
}

/* Whoever has a file of it open may have read zeros for holes, and keep them. */
static void tell_untrusted(struct mounted *m)
{
	unsigned n = mount_detach_everywhere(m);

	log_event(EVENT_UNTRUSTED, NULL, FIELD("mount", m->id), FIELD("image", m->asked.image),
		FIELD("mountpoint", m->asked.mountpoint), FIELD("detached", n),
		FIELD("reason", "for a while nobody held its reads: holes may have read as zeros"));
}

static void tell_unserved(struct mounted *m, struct error *err)
{
	m->state = MOUNTED_LOST;
	log_event(EVENT_FAULT, NULL, FIELD("mount", m->id), FIELD("image", m->asked.image),
		FIELD("mountpoint", m->asked.mountpoint), FIELD("error", err->msg));
	error_free(err);
}

/* Does a process before us leave what it takes to go on with it? */
static bool is_kept(const struct mounted *m)
{
	CLEANUP_FREE char *name = fuse_name(m);

	return keep_has(m->service->keep, m->asked.transport == SERVICE_FUSE
						  ? name
						  : service_transport_name(m->asked.transport));
}

/* Those that only their numbers tell, before there are new mounts. Not where a mount goes on: who
 * wants to unmount it would have to wait meanwhile. */
static void find_former(struct mounted *m)
{
	if (m->asked.transport != SERVICE_FANOTIFY && mount_has_no_name(m) && !is_kept(m))
		mount_places_find(m, &m->former);
}

/* Nobody has its bootstrap open, if a process has died while it mended the mount. By FUSE, nobody
 * ever has: it is kept, or there is something to be replaced. */
static bool has_ended(const struct mounted *m, bool is_foreign)
{
	if (m->asked.transport == SERVICE_FUSE)
		return !is_foreign && !m->former.n && !is_kept(m);
	return mounted_is_gone(m) && !mount_was_replaced(m);
}

struct mounted *mounted_load(struct service *s, const char *id, struct error **err)
{
	struct mounted *m = mounted_begin(s);
	bool is_gone;
	int known;

	snprintf(m->id, sizeof(m->id), "%s", id);
	m->dir = state_open_dir(s, id, false, err);
	if (m->dir < 0) {
		mounted_free(m, false);
		return NULL;
	}
	known = state_load_asked(s, m->dir, id, &m->asked, &m->devs, err);
	if (known == 1)
		find_former(m);
	is_gone = known <= 0 || has_ended(m, known == STATE_FOREIGN);
	if (is_gone || known == STATE_FOREIGN) {
		mounted_free(m, is_gone);
		return NULL;
	}
	return m;
}

void mounted_restore(struct mounted *m)
{
	struct error *why = NULL;

	if (restore(m, &why) < 0)
		tell_unserved(m, why);
	else if (m->state == MOUNTED_UNTRUSTED)
		tell_untrusted(m);
	if (m->state != MOUNTED_LOST)
		mount_places_drop(&m->former);
}

static int replace(struct mounted *m, struct error **err)
{
	if (!mount_has_no_name(m))
		mount_places_find(m, &m->former);
	if (mount_places_are_ours(&m->former))
		return kernel_mount_replace(m, err);
	return mounted_elsewhere(err);
}

static void replace_lost(struct mounted *m)
{
	CLEANUP_ERROR struct error *err = NULL;
	int n = replace(m, &err);

	if (n > 0) {
		m->state = MOUNTED_SERVED;
		log_event(EVENT_RECOVERY, NULL, FIELD("mount", m->id),
			FIELD("image", m->asked.image), FIELD("mounted_anew", n));
		return;
	}
	log_event(EVENT_FAULT, NULL, FIELD("mount", m->id), FIELD("image", m->asked.image),
		FIELD("mountpoint", m->asked.mountpoint), FIELD("error", err->msg));
}

/* When every process had died, its FUSE devices have, too: a new mount takes the place. */
void mounted_replace(struct mounted *m)
{
	if (m->state == MOUNTED_LOST && m->session && m->transport)
		replace_lost(m);
	mount_places_drop(&m->former);
}

/* ---- its end ---- */

bool mounted_is_gone(const struct mounted *m)
{
	if (m->asked.transport == SERVICE_CACHEFILES)
		return cachefiles_mount_is_gone(m);
	if (m->fuse)
		return fuse_mount_is_gone(m->fuse);
	/* of one that is dead, and could not be replaced, nobody may have the bootstrap open */
	return !state_in_use(m->dir) && !(m->state == MOUNTED_LOST && mount_is_somewhere(m));
}

void mounted_free(struct mounted *m, bool forget)
{
	CLEANUP_FREE char *name = fuse_name(m);

	if (forget)
		kernel_mount_detach(m);
	fuse_mount_end(m->fuse);
	if (forget) /* also what could not be gone on with: its readers would wait for ever */
		fuse_mount_forget(m->service->keep, name);
	session_close(m->session);
	image_source_free(m->image);
	ways_close(&m->ways);
	if (forget)
		state_remove(m->service, m->id);
	state_close_dir(m->service, &m->dir);
	mount_places_drop(&m->former);
	asked_free(&m->asked);
	free(m);
}
