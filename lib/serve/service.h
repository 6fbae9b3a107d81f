/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What a daemon does: the images that it serves, each mounted once for whoever asked. State of a
 * mount lies in STORE/mounts/ID (not secret: the image's manifest and config, the bootstrap that
 * the kernel reads, how it was asked for) and RUNTIME/ID.secret (credentials, 0600), so that a new
 * process goes on with it.
 */
#ifndef SERVE_SERVICE_H
#define SERVE_SERVICE_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/base/caller.h"
#include "lib/base/digest.h"
#include "lib/registry/registry.h"
#include "lib/serve/engine/engine.h"
#include "lib/serve/holder/keep.h"
#include "lib/serve/serve_config.h"

struct service;

enum service_transport { /* --transport */
	SERVICE_AUTO,
	SERVICE_FANOTIFY,
	SERVICE_FUSE_DEVICE,
	SERVICE_CACHEFILES,
	SERVICE_FUSE,
};
/* -1: no such name. */
int service_transport_parse(const char *name, enum service_transport *t);
const char *service_transport_name(enum service_transport t);

enum service_prefetch { SERVICE_PREFETCH_NONE, SERVICE_PREFETCH_BACKGROUND, SERVICE_PREFETCH_ALL };

struct service_options {
	const char *store; /* NULL: the default one */
	uint64_t store_limit; /* bytes; 0: the disk's */
	const char *runtime; /* directory for secrets, 0700, there already */
	enum service_transport transport; /* of those who ask for auto */
	unsigned deadline; /* seconds that a reader waits at most; 0: the engine's */
	bool strict; /* for all: nothing that reads as zeros when every process of ours dies */
	const struct serve_config *config; /* the caller's */
};

/*
 * Begin, and go on with what a former process with the same store and runtime directory served.
 * Mounts that cannot be trusted any more (fanotify without anybody who kept the group) are detached
 * where they are in this mount namespace, and stay in the status as untrusted otherwise.
 */
struct service *service_start(
	const struct service_options *o, struct keep *keep, struct error **err);

/* Ask for a mount; the strings are the caller's. */
struct service_request {
	const char *image; /* docker://... or oci:/absolute/path[:TAG] */
	const char *platform; /* OS/ARCH[/VARIANT], or NULL */
	const struct registry_options *registry;
	const struct caller *caller; /* who asks */
	enum service_transport transport;
	enum service_prefetch prefetch;
	bool strict;
	bool writable; /* an overlay comes on top: the tree must not have its marks */
	const char *mountpoint; /* absolute; for the status only */
};

#define SERVICE_ID_MAX 33 /* 32 hex digits and a NUL */
struct service_answer {
	int mount; /* fsmount(2)'s, nowhere yet: the asker's to place, and to close */
	char id[SERVICE_ID_MAX];
	struct digest manifest, bootstrap;
	enum service_transport transport; /* never SERVICE_AUTO */
};

/*
 * On any thread. Blocks until the mount is made (with SERVICE_PREFETCH_ALL until all is there);
 * *gone becomes true when the asker does not wait any more. A caller who is not root gets a mount
 * that honours no set-user-ID and no devices, and proves access to what is in the store already.
 */
int service_mount(struct service *s, const struct service_request *r, const _Atomic bool *gone,
	struct service_answer *a, struct error **err);

/* Look now which mounts are gone (which is also done every other second), and forget those. */
void service_reap(struct service *s);

/* How many mounts it serves. */
unsigned service_n_mounts(struct service *s);

/*
 * An object: "transport", "store" {"dir","limit"}, "totals" and "mounts": an array of {"id",
 * "image","manifest","mountpoint","transport","prefetch","state","since" (seconds since 1970),
 * "uid","devices": [{"digest","size","cached","missing","complete", …}], "cached","missing",
 * "requests", "hits", "hitRatio","errors","waitedSeconds"}. docs/man/erofs-convert-status.1.
 */
json_t *service_status(struct service *s);
/* Sums, for metrics. */
void service_stats(struct service *s, struct engine_stats *stats);

/*
 * The end of this process. Where a service manager keeps what the kernel waits on
 * (keep_is_backed()) and there are mounts: returns true at once, with nobody answered and nothing
 * freed; a later process goes on, and this one must leave by _exit(2). Else those who wait get EIO;
 * mounts by fanotify are detached, the others stay where they are. NULL is allowed.
 */
bool service_stop(struct service *s);

#endif
