/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A read that a holder had taken from the kernel when it died, before it could note of which file
 * (union coming in lib/serve/holder/requests.h): its range is fetched of each file that it can be
 * of, and then it may go on.
 */
#ifndef SERVE_FANOTIFY_UNKNOWN_H
#define SERVE_FANOTIFY_UNKNOWN_H

#include "lib/serve/transport/fanotify_files.h"

/*
 * As engine_want(), for all blobs of `f` at once. EAGAIN for w->done(): the group has marked a file
 * that is none of these, or they are not all to be had; nothing is known to be wrong with the read.
 * `dir` is as for fanotify_group_each_mark().
 */
void fanotify_unknown_want(struct fanotify_files *f, int group, int dir, uint64_t offset,
	uint64_t len, struct want *w);

#endif
