// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Which transports there are, and which one a mount gets. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/service/part.h"

static const char *const transport_names[] = { "auto", "fanotify", "fuse-device", "cachefiles",
	"fuse" };

int service_transport_parse(const char *name, enum service_transport *t)
{
	for (size_t i = 0; i < sizeof(transport_names) / sizeof(*transport_names); i++)
		if (!strcmp(name, transport_names[i])) {
			*t = (enum service_transport)i;
			return 0;
		}
	return -1;
}

const char *service_transport_name(enum service_transport t)
{
	return transport_names[t];
}

void transports_open_fanotify(struct service *s, const char *store_dir)
{
	CLEANUP_ERROR struct error *err = NULL;

	s->fanotify_lost = !keep_has(s->keep, KEEP_FANOTIFY);
	s->fanotify = fanotify_transport_open(s->keep, store_dir, &s->store_fd, &err);
	if (s->fanotify)
		return;
	s->no_fanotify = xstrdup(err->msg);
	log_debug("no transport fanotify: %s", err->msg);
}

static struct device_transport *no_fanotify(const struct service *s, struct error **err)
{
	error_set(err, 0, "the transport fanotify is not there: %s", s->no_fanotify);
	error_hint(err, "--transport auto");
	return NULL;
}

/* Once the engine runs, a transport that is opened begins at once. Takes it over; NULL is allowed.
 */
static struct device_transport *add_transport(
	struct service *s, struct device_transport *t, struct error **err)
{
	if (!t)
		return NULL;
	if (blob_set_engine(s->blobs) && t->start(t, err) < 0) {
		t->close(t);
		return NULL;
	}
	blob_set_add_transport(s->blobs, t);
	return t;
}

static struct device_transport *open_fuse_device(struct service *s, struct error **err)
{
	if (s->fuse_device)
		return s->fuse_device;
	s->fuse_device_lost = !keep_has(s->keep, "fuse-device");
	s->fuse_device = add_transport(s, fuse_device_transport_open(s->keep, err), err);
	return s->fuse_device;
}

static struct device_transport *open_cachefiles(struct service *s, struct error **err)
{
	const struct config_cachefiles *config = s->config ? &s->config->cachefiles : NULL;
	const char *dir = store_dir(blob_set_store(s->blobs));

	if (s->cachefiles)
		return s->cachefiles;
	s->cachefiles_lost = !cachefiles_transport_was_kept(s->keep);
	s->cachefiles = add_transport(s, cachefiles_transport_open(s->keep, dir, config, err), err);
	return s->cachefiles;
}

/*
 * Two daemons that both have marks in one store wait for each other: each one's writes ask the
 * other, once it has opened its files anew. It is the one who owns STORE/mounts.
 */
static struct device_transport *use_fanotify(struct service *s, struct error **err)
{
	if (!s->fanotify)
		return no_fanotify(s, err);
	if (store_own(blob_set_store(s->blobs), s->mounts_fd) == 0)
		return s->fanotify;
	error_set(err, errno, "another daemon serves %s by fanotify",
		store_dir(blob_set_store(s->blobs)));
	error_hint(err, "--transport auto, or a --store of its own");
	return NULL;
}

struct device_transport *service_device_transport(
	struct service *s, enum service_transport t, struct error **err)
{
	struct device_transport *found;

	if (t == SERVICE_FANOTIFY)
		return use_fanotify(s, err);
	pthread_mutex_lock(&s->open_lock);
	found = t == SERVICE_CACHEFILES ? open_cachefiles(s, err) : open_fuse_device(s, err);
	pthread_mutex_unlock(&s->open_lock);
	return found;
}

/* ---- auto ---- */

/* Why not, or NULL: it is there. The caller frees it. */
static char *why_no_fanotify(struct service *s)
{
	if (!s->fanotify)
		return xstrdup(s->no_fanotify);
	if (s->strict)
		return xstrdup("--strict");
	return keep_is_backed(s->keep)
		       ? NULL
		       : xstrdup("no service manager keeps its group, and when all processes "
				 "die, holes would read as zeros");
}

static char *why_not(struct service *s, enum service_transport t)
{
	CLEANUP_ERROR struct error *err = NULL;
	char *why = NULL;

	if (t == SERVICE_FANOTIFY)
		return why_no_fanotify(s);
	if (t == SERVICE_FUSE_DEVICE)
		fuse_device_transport_supported(&why);
	else if (t == SERVICE_CACHEFILES && !service_device_transport(s, t, &err))
		why = xstrdup(err->msg);
	return why;
}

/*
 * Decision 19 of the design. Where the kernel raises fanotify's events, and nobody keeps the group,
 * fuse-device stands in for it: it fails closed. Older kernels' own way is cachefiles; fuse-device
 * comes after it, for 6.12 and 6.13 without it.
 */
enum service_transport transports_choose(struct service *s, enum service_transport wanted)
{
	static const enum service_transport orders[2][4] = {
		{ SERVICE_FANOTIFY, SERVICE_CACHEFILES, SERVICE_FUSE_DEVICE, SERVICE_FUSE },
		{ SERVICE_FANOTIFY, SERVICE_FUSE_DEVICE, SERVICE_CACHEFILES, SERVICE_FUSE },
	};
	const enum service_transport *t = orders[s->fanotify != NULL];

	if (wanted != SERVICE_AUTO)
		return wanted;
	for (;; t++) {
		CLEANUP_FREE char *why = why_not(s, *t);

		if (!why)
			break;
		log_debug("auto: no %s: %s", service_transport_name(*t), why);
	}
	log_debug("auto: %s", service_transport_name(*t));
	return *t;
}

int transports_check(struct service *s, enum service_transport wanted, struct error **err)
{
	CLEANUP_FREE char *why = NULL;

	if (wanted == SERVICE_FANOTIFY && s->strict) {
		error_set(err, 0, "--strict and --transport fanotify exclude each other");
		return error_hint(err, "--transport fuse-device, or auto");
	}
	if (wanted == SERVICE_FANOTIFY && !s->fanotify)
		return no_fanotify(s, err) ? 0 : -1;
	if (wanted == SERVICE_FUSE_DEVICE && !fuse_device_transport_supported(&why))
		return error_set(err, 0, "the transport fuse-device is not there: %s", why);
	if (wanted == SERVICE_CACHEFILES)
		return service_device_transport(s, SERVICE_CACHEFILES, err) ? 0 : -1;
	return 0;
}
