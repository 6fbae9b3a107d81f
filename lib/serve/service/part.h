/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inside of the service: one mount, what is saved of it, where its bytes come from. */
#ifndef SERVICE_PART_H
#define SERVICE_PART_H

#include <pthread.h>
#include <sys/queue.h>
#include <time.h>

#include "lib/image/source.h"
#include "lib/serve/service.h"
#include "lib/serve/session.h"
#include "lib/serve/transport/device_transport.h"

struct fuse_mount;

/* ---- asked.c: what somebody has asked for, owned ---- */

struct asked {
	char *image, *platform, *mountpoint; /* platform: or NULL */
	struct registry_options registry; /* its strings are owned, too */
	struct caller caller;
	enum service_transport transport; /* what it came to: never SERVICE_AUTO */
	enum service_prefetch prefetch;
	bool strict, writable;
	time_t since;
};
void asked_copy(struct asked *a, const struct service_request *r);
void asked_free(struct asked *a);

/* All but the secrets, and those alone. */
json_t *asked_to_json(const struct asked *a);
json_t *asked_secrets(const struct asked *a); /* NULL: none */
int asked_from_json(struct asked *a, const json_t *json, const json_t *secrets, struct error **err);

/* ---- ways.c: the places where an image's blobs come from ---- */

struct ways {
	struct image_ref ref; /* what was asked for */
	const struct config_registry *config; /* NULL: nothing is said of its registry */
	struct registry_options options; /* with what the configuration says; strings elsewhere */
	struct registry_options *mirrors; /* one for each of the configuration */
	struct registry **registries; /* that are ours to close */
	size_t n_registries;
	struct blob_source *source;
};

/* For the service's configuration and deadline; `a` and the service outlive it. */
int ways_begin(struct ways *w, const struct asked *a, const struct service *s, struct error **err);
/* Manifest and config, from the first mirror that has them, else from the registry. */
struct image_source *ways_open_image(struct ways *w, const struct asked *a, struct error **err);
/* All the places, for the image that has been opened; of a saved one too. */
int ways_open_source(struct ways *w, struct image_source *image, struct error **err);
void ways_cancel(struct ways *w);
void ways_close(struct ways *w);

/* ---- state.c: STORE/mounts/ID ---- */

#define STATE_BOOTSTRAP "bootstrap"

/* STORE/mounts/ID, made (0700) or opened, and our own: EWOULDBLOCK when another daemon has it. */
int state_open_dir(const struct service *s, const char *id, bool make, struct error **err);
void state_close_dir(const struct service *s, int *dir);
/* A copy of what is in `from`, which the kernel opens; in the place of what is there. */
int state_save_bootstrap(int dir, int from, struct error **err);
int state_copy_bootstrap(int to, int from, struct error **err);
int state_save_image(int dir, struct image_source *image, struct error **err);
/*
 * Of a mount: its device number, 0 when it is not known yet. While it takes the place of dead ones,
 * theirs, too: who dies in the middle of that leaves some of them where they are.
 */
struct mount_devs {
	dev_t now;
	dev_t before[8]; /* some of them, if there are more; 0: none */
};
int state_save_asked(const struct service *s, int dir, const char *id, const struct asked *a,
	const struct mount_devs *devs, struct error **err);
/* 1; STATE_FOREIGN: a daemon's with another runtime directory; 0 when it is of an earlier boot or
 * not whole; -1. */
#define STATE_FOREIGN 2
int state_load_asked(const struct service *s, int dir, const char *id, struct asked *a,
	struct mount_devs *devs, struct error **err);
/* Has the kernel, or anybody else, the bootstrap open? */
bool state_in_use(int dir);
void state_remove(const struct service *s, const char *id);
char *state_path(const struct service *s, const char *id, const char *name);

/* ---- mounted.c ---- */

enum mounted_state { MOUNTED_SERVED, MOUNTED_UNTRUSTED, MOUNTED_LOST };

struct mount_place {
	int fd; /* of its root, O_PATH */
	dev_t dev;
	char *path;
	bool is_copy; /* of one in another mount namespace, to which no change of ours goes */
};

struct mount_places {
	struct mount_place *all;
	size_t n, cap;
};

struct mounted {
	LIST_ENTRY(mounted) of_service;
	struct service *service;
	char id[SERVICE_ID_MAX];
	struct asked asked;
	struct ways ways;
	struct image_source *image;
	struct session *session; /* NULL when it is not served */
	struct device_transport *transport; /* of a kernel mount that has attached something */
	struct fuse_mount *fuse;
	struct digest manifest, bootstrap;
	int dir; /* STORE/mounts/ID */
	struct mount_devs devs;
	struct mount_places former; /* until it has taken their place */
	enum mounted_state state;
	bool automatic; /* the transport was ours to choose */
};

/* Make one; *mount is its descriptor. */
struct mounted *mounted_new(struct service *s, const struct service_request *r,
	const _Atomic bool *gone, int *mount, struct error **err);
/* One that a former process has made. NULL without an error: it is gone. */
struct mounted *mounted_load(struct service *s, const char *id, struct error **err);
/* Go on with it; after all have been loaded. */
void mounted_restore(struct mounted *m);
/* After the start of what serves. */
int mounted_resume(struct mounted *m, struct error **err);
/* For one that has lost its devices: a new one in its place. */
void mounted_replace(struct mounted *m);
bool mounted_is_gone(const struct mounted *m);
/* `forget`: also what is saved of it, for it is mounted nowhere any more. */
void mounted_free(struct mounted *m, bool forget);
json_t *mounted_status(const struct mounted *m);

/* ---- rights.c ---- */

/*
 * For one who is not root: has the image what is only root's, and can he get its blobs, which
 * others may have had fetched, and may have fetched for him later? The session is open.
 */
int rights_check(const struct mounted *m, struct error **err);

/* ---- kernel_mount.c ---- */

/* Attach what is not complete, and mount it: a descriptor, or -1. */
int kernel_mount(struct mounted *m, struct error **err);
/* Attach for a mount that is there already. */
int kernel_mount_adopt(struct mounted *m, struct error **err);
void kernel_mount_detach(struct mounted *m);
/* Instead of a mount whose devices are dead, a new one: as mount_places_replace(). */
int kernel_mount_replace(struct mounted *m, struct error **err);

/* ---- mount_places.c ---- */

/* The device number of a mount, also of one that nobody serves yet; 0: unknown. */
dev_t device_of_mount(int mount);
/* Is its device number all that tells it from other mounts? */
bool mount_has_no_name(const struct mounted *m);
/*
 * Where the mount, or one that it takes the place of, is in this mount namespace now: whole, and
 * seen. As long as the places are held, nobody can unmount what is there, but by detaching it.
 */
void mount_places_find(const struct mounted *m, struct mount_places *p);
void mount_places_drop(struct mount_places *p);
/* Is there one where something else can be put? */
bool mount_places_are_ours(const struct mount_places *p);
bool mount_is_somewhere(const struct mounted *m);
/* Did somebody die while he replaced it? Then nobody has its bootstrap open, and it is not gone. */
bool mount_was_replaced(const struct mounted *m);
/* Save that `m->former` is about to be replaced. */
int mount_places_note(struct mounted *m, struct error **err);
/* Put this mount wherever `m->former` says, and save that. How many places there were; none is an
 * error. */
int mount_places_replace(struct mounted *m, int mount, struct error **err);
/* How many places there were; copies are left where they are. */
unsigned mount_detach_everywhere(const struct mounted *m);

/* ---- cachefiles_mount.c: the same for DEVICE_CACHEFILES ---- */

int cachefiles_mount(struct mounted *m, struct error **err);
int cachefiles_mount_adopt(struct mounted *m, struct error **err);
void cachefiles_mount_detach(struct mounted *m);
/* Before its transport is there, too. */
bool cachefiles_mount_is_gone(const struct mounted *m);

/* ---- service.c ---- */

struct service {
	char *runtime;
	uint64_t store_limit;
	unsigned deadline; /* seconds */
	bool strict;
	const struct serve_config *config;
	struct keep *keep;
	enum service_transport automatic; /* what auto comes to */
	struct blob_set *blobs;
	int store_fd, mounts_fd; /* STORE, perhaps through a mount of our own; STORE/mounts */
	pthread_mutex_t lock; /* for the list */
	pthread_mutex_t open_lock; /* for opening transports */
	LIST_HEAD(, mounted) mounts;
	struct device_transport *fanotify, *fuse_device, *cachefiles;
	char *no_fanotify; /* why not */
	bool fanotify_lost, fuse_device_lost, cachefiles_lost; /* nobody has kept them for us */
	pthread_t reaper;
	pthread_cond_t stopping;
	bool reaping, stop;
};

/* ---- transports.c ---- */

/* Of all transports it must be the first: the store's files are opened through what it gives. */
void transports_open_fanotify(struct service *s, const char *store_dir);
/*
 * What "auto" comes to (decision 10 of the design: fanotify only where somebody keeps the group
 * when all of us die), or what was asked for.
 */
enum service_transport transports_choose(struct service *s, enum service_transport wanted);
/* What was asked for by name must be there now, not at the first mount. */
int transports_check(struct service *s, enum service_transport wanted, struct error **err);
/* The device transport, opened when it was not; NULL with *err. */
struct device_transport *service_device_transport(
	struct service *s, enum service_transport t, struct error **err);

#endif
