// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "cmd/mount_served.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/private_daemon.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/image/ref.h"
#include "lib/mount/context.h"
#include "lib/mount/mount.h"
#include "lib/mount/writable.h"
#include "lib/registry/secret.h"
#include "lib/serve/control/control_client.h"
#include "lib/serve/control/places.h"

/* The request, with what the daemon would not find: relative paths, our usual places. */
struct told {
	struct service_request request;
	struct registry_options registry;
	struct credentials found;
	char *image, *mountpoint, *authfile, *cert_dir, *pair;
	int where; /* the mount point, open before there is any work: it is the one looked at */
};

static void told_free(struct told *t)
{
	free(t->image);
	free(t->mountpoint);
	free(t->authfile);
	free(t->cert_dir);
	wipe_free(t->pair);
	cleanup_fd_(&t->where);
	credentials_free(&t->found);
}
#define CLEANUP_TOLD CLEANUP(told_free)

static char *absolute(const char *path, struct error **err)
{
	char *real = realpath(path, NULL);

	if (!real)
		error_set(err, errno, "cannot look at %s", path);
	return real;
}

/* A pipe is read here, once; the daemon gets what was in it. */
static int hand_over(struct told *t, struct error **err)
{
	struct credentials_options *o = &t->registry.credentials;
	const struct credentials *c = &t->found;

	o->authfile = NULL;
	if (c->user)
		o->creds = t->pair = secret_join(c->user, ":", c->password ? c->password : "");
	else if (c->registry_token)
		o->registry_token = c->registry_token;
	else if (c->identity_token)
		return error_set(err, 0,
			"%s: an identity token must be in a file that can be read again", c->from);
	return 0;
}

/*
 * Which of our files has credentials for the registry: the daemon reads that one, with our rights,
 * and again when they have run out.
 */
static int tell_credentials(struct told *t, const struct image_ref *ref, struct error **err)
{
	struct credentials_options *o = &t->registry.credentials;

	if (o->no_creds || o->creds || o->registry_token)
		return 0;
	if (credentials_find(&t->found, o, ref->host, ref->repository, err) < 0)
		return -1;
	if (t->found.once)
		return hand_over(t, err);
	if (t->found.file || o->authfile) {
		t->authfile = absolute(t->found.file ? t->found.file : o->authfile, err);
		o->authfile = t->authfile;
		return t->authfile ? 0 : -1;
	}
	return 0;
}

static int tell_image(struct told *t, const char *image, struct error **err)
{
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };
	CLEANUP_FREE char *dir = NULL;

	if (image_ref_parse(&ref, image, err) < 0)
		return -1;
	if (ref.transport == TRANSPORT_DOCKER) {
		t->image = xstrdup(image);
		return tell_credentials(t, &ref, err);
	}
	if (ref.transport != TRANSPORT_OCI) {
		error_set(err, 0, "%s cannot be mounted", image);
		return error_hint(err, "an image in oci:DIR[:TAG] or docker://HOST/NAME[:TAG]");
	}
	dir = absolute(ref.path, err);
	if (!dir)
		return error_wrap(err, "%s", image);
	t->image = xasprintf("oci:%s%s%s", dir, ref.tag ? ":" : "", ref.tag ? ref.tag : "");
	return 0;
}

static int tell(struct told *t, const struct served_mount *m, struct error **err)
{
	t->registry = *m->registry;
	if (tell_image(t, m->image, err) < 0)
		return -1;
	t->where = open(m->mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t->where < 0)
		return error_set(err, errno, "cannot look at the mount point %s", m->mountpoint);
	t->mountpoint = absolute(m->mountpoint, err);
	if (!t->mountpoint)
		return -1;
	if (t->registry.cert_dir) {
		t->cert_dir = absolute(t->registry.cert_dir, err);
		if (!t->cert_dir)
			return -1;
		t->registry.cert_dir = t->cert_dir;
	}
	t->request = (struct service_request){ .image = t->image,
		.platform = m->platform,
		.registry = &t->registry,
		.transport = m->transport,
		.prefetch = m->prefetch,
		.strict = m->strict,
		.writable = m->writable,
		.mountpoint = t->mountpoint };
	return 0;
}

/* ---- the daemon ---- */

/* 1 and a connection; 0: no system daemon, or not the one for this store; -1. */
static int find_daemon(const struct served_mount *m, int *fd, struct error **err)
{
	CLEANUP_FREE char *usual = places_socket();
	CLEANUP_ERROR struct error *e = NULL;

	if (!m->socket && (!usual || m->store || m->store_limit))
		return 0;
	*fd = control_connect(m->socket ? m->socket : usual, &e);
	if (*fd >= 0)
		return 1;
	if (!m->socket && control_is_absent(e))
		return 0;
	*err = take_ptr(e);
	return error_hint(err, "see whether `erofs-convert serve` runs there");
}

static int ask(const struct told *t, int fd, struct service_answer *a, struct error **err)
{
	if (control_mount(fd, &t->request, a, err) < 0) /* some already say which image */
		return strncmp((*err)->msg, t->image, strlen(t->image)) == 0
			       ? -1
			       : error_wrap(err, "%s", t->image);
	log_debug("%s is served by %s", t->image, service_transport_name(a->transport));
	return 0;
}

/* ---- the mount ---- */

static int place(const struct served_mount *m, const struct told *t, const struct service_answer *a,
	struct error **err)
{
	const struct mount_request writable = { .bootstrap = t->image,
		.mountpoint = m->mountpoint,
		.writable = true,
		.upper = m->upper,
		.digest = &a->bootstrap };

	if (m->writable)
		return writable_mount(&writable, a->mount, t->where, err);
	return mount_attach(a->mount, t->where, m->mountpoint, err);
}

static int ask_and_place(const struct served_mount *m, const struct told *t, int fd,
	struct service_answer *a, struct error **err)
{
	CLEANUP_FD int mount = -1;

	if (ask(t, fd, a, err) < 0)
		return -1;
	mount = a->mount;
	if (interrupt_pending())
		return error_set(err, 0, "interrupted");
	return place(m, t, a, err) < 0 ? error_wrap(err, "%s", m->image) : 0;
}

static int mount_by_own_daemon(const struct served_mount *m, const struct told *t,
	struct service_answer *a, struct error **err)
{
	const struct private_options o = { .store = m->store, .store_limit = m->store_limit };
	struct private_daemon d;
	int fd = private_daemon_start(&d, &o, err), rc;

	if (fd < 0)
		return error_wrap(err, "%s", m->image);
	rc = ask_and_place(m, t, fd, a, err);
	private_daemon_leave(&d, rc == 0);
	return rc;
}

static int mount_it(const struct served_mount *m, struct service_answer *a, struct error **err)
{
	CLEANUP_TOLD struct told t = { .where = -1 };
	int fd = -1, found;

	if (mount_check(m->mountpoint, err) < 0)
		return error_wrap(err, "%s", m->image);
	if (tell(&t, m, err) < 0)
		return -1;
	found = find_daemon(m, &fd, err);
	if (found < 0)
		return error_wrap(err, "%s", m->image);
	return found ? ask_and_place(m, &t, fd, a, err) : mount_by_own_daemon(m, &t, a, err);
}

int mount_served(const struct served_mount *m)
{
	struct service_answer a = { .mount = -1 };
	struct error *err = NULL;
	int status;

	if (mount_it(m, &a, &err) == 0)
		return m->mounted(&a);
	status = cmd_fail(err);
	interrupt_die();
	return status;
}
