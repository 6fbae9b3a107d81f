// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/erofs_ondemand.h"

#include <errno.h>
#include <sys/mount.h>
#include <time.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/mount/context.h"

enum { TRIES = 50, PAUSE_MS = 100 };

static const struct context_type erofs = { "erofs", "EROFS", "CONFIG_EROFS_FS_ONDEMAND" };

static int tell_all(struct context *c, const struct ondemand_mount *m, struct error **err)
{
	if (context_string(c, "source", "none", err) < 0 ||
		context_string(c, "fsid", m->fsid, err) < 0)
		return -1;
	if (m->domain && context_string(c, "domain_id", m->domain, err) < 0)
		return -1;
	for (size_t i = 0; i < m->n_devices; i++)
		if (context_string(c, "device", m->devices[i], err) < 0)
			return -1;
	return context_flag(c, "ro", err);
}

static int create(const struct context *c, struct error **err)
{
	int code;

	if (fsconfig(c->fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		return 0;
	code = errno;
	context_refused(c, code, "the kernel does not mount the image over cachefiles", err);
	return error_hint(
		err, "a kernel with CONFIG_EROFS_FS_ONDEMAND; `dmesg | tail` for what it saw");
}

static int try(const struct ondemand_mount *m, struct error **err)
{
	CLEANUP_CONTEXT struct context c = CONTEXT_NONE;

	if (context_begin(&c, &erofs, err) < 0 || tell_all(&c, m, err) < 0 || create(&c, err) < 0)
		return -1;
	return context_mount(&c,
		MOUNT_ATTR_RDONLY | (m->untrusted ? MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV : 0), err);
}

/* ENOBUFS: a cache that was there before is still on its way out. */
static int try_on(const struct ondemand_mount *m, struct error **err)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
	int mount;

	for (unsigned i = 1;; i++) {
		CLEANUP_ERROR struct error *why = NULL;

		mount = try(m, &why);
		if (mount >= 0)
			return mount;
		if (why->code != ENOBUFS || i == TRIES) {
			*err = take_ptr(why);
			return -1;
		}
		nanosleep(&pause, NULL);
	}
}

int erofs_mount_ondemand(const struct ondemand_mount *m, struct error **err)
{
	struct ondemand_mount alone = *m;

	if (m->domain && kernel_before(6, 1)) {
		log_debug("this kernel shares no blobs between mounts by cachefiles");
		alone.domain = NULL;
	}
	return try_on(&alone, err);
}
