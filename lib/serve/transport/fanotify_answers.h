/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The worker's end of the requests that the holder shares (lib/serve/holder/requests.h). */
#ifndef SERVE_FANOTIFY_ANSWERS_H
#define SERVE_FANOTIFY_ANSWERS_H

#include "lib/serve/holder/keep.h"
#include "lib/serve/transport/fanotify_files.h"

struct fanotify_answers;

/* `keep` outlives all that is wanted of the files, `files` and `dir` (as for
 * fanotify_group_each_mark()) the end; `group` is copied. */
struct fanotify_answers *fanotify_answers_new(
	struct keep *keep, int group, int dir, struct fanotify_files *files, struct error **err);

/* Begin, with what a former worker has left. */
int fanotify_answers_start(struct fanotify_answers *a, struct error **err);

/* Something that was there will be absent in a moment. */
void fanotify_answers_lost(struct fanotify_answers *a);

/*
 * No request is taken any more. Those that were wanted by then are answered when the engine says
 * so, which it does at its own end at the latest. NULL is allowed.
 */
void fanotify_answers_end(struct fanotify_answers *a);

#endif
