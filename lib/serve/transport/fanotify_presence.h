/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The worker's end of what the holder knows to be there (lib/serve/holder/presence.h). */
#ifndef SERVE_FANOTIFY_PRESENCE_H
#define SERVE_FANOTIFY_PRESENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/serve/engine/engine.h"
#include "lib/serve/holder/keep.h"

struct fanotify_presence;

/* Takes over what a former worker has left, or begins a new table. `keep` outlives the call. */
struct fanotify_presence *fanotify_presence_open(struct keep *keep, struct error **err);
void fanotify_presence_close(struct fanotify_presence *p); /* the table stays; NULL is allowed */

/*
 * An entry for the file that is open there, in the place of a former worker's: nothing of it is
 * there yet. Its slot, below PRESENCE_FILES; -1: there is no room, and all its reads are the
 * worker's.
 */
int fanotify_presence_add(struct fanotify_presence *p, int fd);
void fanotify_presence_remove(struct fanotify_presence *p, int slot);
/* All that a former worker has left and nobody has added again. */
void fanotify_presence_remove_others(struct fanotify_presence *p);

/* What is there of [offset, offset + len), cut at its end, is what the engine says. One thread at a
 * time for each slot; so for the next. */
void fanotify_presence_update(struct fanotify_presence *p, int slot, struct served_blob *b,
	uint64_t offset, uint64_t len);
/* The same for a bounded part of the file, from `at` on. Where the next one begins; UINT64_MAX:
 * that was the last. */
uint64_t fanotify_presence_look_on(
	struct fanotify_presence *p, int slot, struct served_blob *b, uint64_t at);
void fanotify_presence_clear(struct fanotify_presence *p, int slot);

/* The holder's count of reads that it has let go on. */
const _Atomic uint64_t *fanotify_presence_hits(const struct fanotify_presence *p, int slot);

/* The next place that the holder has told of, on one thread; false: none at present. */
bool fanotify_presence_next_note(
	struct fanotify_presence *p, int *slot, uint64_t *offset, uint64_t *len);

#endif
