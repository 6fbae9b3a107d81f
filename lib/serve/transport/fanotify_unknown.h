/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A read that a holder had taken from the kernel when it died, before it could note of which file
 * (union coming in lib/serve/holder/requests.h): its range is fetched of each file that it can be
 * of, and then it may go on.
 */
#ifndef SERVE_FANOTIFY_UNKNOWN_H
#define SERVE_FANOTIFY_UNKNOWN_H

#include <stdatomic.h>

#include "lib/serve/transport/fanotify_files.h"

/* What a group has marked, and what is served of it. */
struct fanotify_marked {
	struct fanotify_files *files;
	int group;
	int dir; /* as for fanotify_group_each_mark() */
};

/*
 * As engine_want(), for all blobs at once. EAGAIN for w->done(): the group has marked a file that
 * is not served, or they are not all to be had; nothing is known to be wrong with the read. *losses
 * is one more before anything that was there is absent, and lives until w->done().
 */
void fanotify_unknown_want(const struct fanotify_marked *m, uint64_t offset, uint64_t len,
	const atomic_uint *losses, struct want *w);

#endif
