// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "cmd/mount_lazily.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/cmd.h"
#include "cmd/daemon.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/log_event.h"
#include "lib/base/mem.h"
#include "lib/image/parts.h"
#include "lib/mount/server.h"
#include "lib/serve/engine/engine.h"
#include "lib/serve/engine/sources.h"
#include "lib/serve/session.h"
#include "lib/serve/transport/fuse.h"

/* The mount point's absolute path; the caller frees it. NULL with *err. */
static char *find_mountpoint(const char *path, struct error **err)
{
	CLEANUP_FREE char *real = realpath(path, NULL);
	struct stat st;

	if (!real && errno == ENOENT) {
		error_set(err, 0, "the mount point %s does not exist", path);
		error_hint(err, "mkdir -p %s", path);
		return NULL;
	}
	if (!real || stat(real, &st) < 0) {
		error_set(err, errno, "cannot look at the mount point %s", path);
		return NULL;
	}
	if (S_ISDIR(st.st_mode))
		return take_ptr(real);
	error_set(err, 0, "the mount point %s is not a directory", path);
	error_hint(err, "an empty directory as the mount point");
	return NULL;
}

/* What mountinfo shows: the reference, whose path holds from everywhere. */
static char *describe(const struct image_source *src)
{
	const struct image_ref *ref = &src->ref;

	if (ref->transport != TRANSPORT_OCI)
		return xstrdup(ref->spec);
	return xasprintf("%s%s%s%s", transport_prefix(ref->transport), ref->path,
		ref->tag ? ":" : "", ref->tag ? ref->tag : "");
}

/* Its threads leave the signals that end us to this one. */
static int start(struct session *s, struct error **err)
{
	sigset_t ours, old;
	int r;

	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ours, &old);
	r = session_start(s, err);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

/* What lives as long as the mount. */
struct serving {
	struct image_source *image;
	struct session *session;
	struct fuse_mount *fuse;
	int announced;
};

/* Whoever waits for data is answered before the mount goes. */
static void serving_end(struct serving *s)
{
	session_close(s->session);
	fuse_mount_end(s->fuse);
	image_source_free(s->image);
	cleanup_fd_(&s->announced);
}

static int begin(struct serving *s, const struct lazy_mount *m, struct error **err)
{
	CLEANUP_FREE char *mountpoint = find_mountpoint(m->mountpoint, err);
	struct session_options options = SESSION_OPTIONS_DEFAULT;
	struct registry_options registry = *m->registry;
	CLEANUP_FREE char *source = NULL;

	registry.hurry = true;
	registry.patience = source_patience(ENGINE_OPTIONS_DEFAULT.deadline);
	options.store = m->store;
	options.store_limit = m->store_limit;
	if (!mountpoint || fuse_check(err) < 0) /* before anything is made or fetched */
		return error_wrap(err, "%s", m->image);
	s->image = parts_open_image(m->image, &registry, m->platform, err);
	if (!s->image)
		return -1;
	s->session = session_open(s->image, &options, err);
	if (!s->session)
		return -1;
	if (start(s->session, err) < 0 ||
		(m->prefetch == PREFETCH_ALL && session_fetch_all(s->session, NULL, err) < 0))
		return error_wrap(err, "%s", m->image);
	source = describe(s->image);
	s->fuse = fuse_mount_begin(s->session, mountpoint, source, err);
	if (!s->fuse)
		return error_wrap(err, "%s", m->image);
	s->announced = mount_server_announce(mountpoint);
	if (m->prefetch == PREFETCH_BACKGROUND)
		session_prefetch(s->session);
	return 0;
}

static int serve(const struct lazy_mount *m, struct daemon *d)
{
	CLEANUP(serving_end) struct serving s = { .announced = -1 };
	struct error *err = NULL;
	int status;

	if (begin(&s, m, &err) < 0) {
		status = cmd_fail(err);
		serving_end(&s);
		s = (struct serving){ .announced = -1 };
		interrupt_die();
		return status;
	}
	status = m->mounted(s.image, m->mountpoint);
	if (interrupt_pending() || daemon_ready(d, status) < 0)
		return CMD_FAILED; /* nobody waits for it */
	if (fuse_mount_serve(s.fuse, &err) < 0)
		return cmd_fail(err);
	return CMD_DONE;
}

int mount_lazily(const struct lazy_mount *m)
{
	struct daemon d = { .ready_fd = -1 };
	int status;

	log_event_for_people(true);

	if (!m->foreground && daemon_fork(&d, &status))
		return status;
	return serve(m, &d);
}
