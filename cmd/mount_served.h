/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* mount, when a daemon makes the mount, and serves it: the kernel's EROFS, for root. */
#ifndef CMD_MOUNT_SERVED_H
#define CMD_MOUNT_SERVED_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/registry/registry.h"
#include "lib/serve/service.h"

struct served_mount {
	const char *image, *mountpoint; /* as given */
	const char *platform; /* or NULL */
	const char *socket; /* a daemon's; NULL: the system's if it answers, else a new one */
	const char *store; /* or NULL; only of a new daemon, as the limit */
	uint64_t store_limit; /* 0: none said */
	const struct registry_options *registry;
	enum service_transport transport;
	enum service_prefetch prefetch;
	bool strict, writable;
	const char *upper; /* with writable: where changes are kept, or NULL */
	/* Say that it is there; an exit status. */
	int (*mounted)(const struct service_answer *a);
};

/* An exit status, with the error printed. */
int mount_served(const struct served_mount *m);

#endif
