/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Which blob a file is, as events name it: by device and inode. */
#ifndef SERVE_FANOTIFY_FILES_H
#define SERVE_FANOTIFY_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/serve/shared_blob.h"

struct fanotify_files;
struct fanotify_presence;

/* `presence` outlives it; NULL: the holder knows nothing of the files. */
struct fanotify_files *fanotify_files_new(struct fanotify_presence *presence);
void fanotify_files_free(struct fanotify_files *f); /* NULL is allowed; forgets all */

/* The blob's cache file; sets its `attached`. The holder knows it from now on. */
int fanotify_files_add(struct fanotify_files *f, struct shared_blob *b, struct error **err);
/* Once this returns, nobody wants anything of it any more through these files. Nothing to a blob
 * that is not there. */
void fanotify_files_remove(struct fanotify_files *f, struct shared_blob *b);
bool fanotify_files_has(struct fanotify_files *f, dev_t dev, ino_t ino);

/* It is complete: nobody asks for it any more, and the holder may forget it. Nothing to a blob that
 * is not there, as the next two. */
void fanotify_files_complete(struct fanotify_files *f, struct shared_blob *b);
/* As struct served_blob_parts says: for the holder. */
void fanotify_files_changed(
	struct fanotify_files *f, struct shared_blob *b, uint64_t offset, uint64_t len);
void fanotify_files_lost(struct fanotify_files *f, struct shared_blob *b);
/* All are served now. */
void fanotify_files_start(struct fanotify_files *f);
/* Where the holder has let reads go on: for the engine's reading ahead. On one thread. */
void fanotify_files_take_notes(struct fanotify_files *f);
/*
 * What is there of a whole file takes long to find out: it is looked at in parts, by this, on the
 * same thread, so that nobody waits for more than one of them. False: there is no more.
 */
bool fanotify_files_look_on(struct fanotify_files *f);
/* To be read (poll(2)) while there may be more; f's own. */
int fanotify_files_more(const struct fanotify_files *f);

/* engine_want() of the file's blob; false: there is none, and done() is not called. */
bool fanotify_files_want(struct fanotify_files *f, uint64_t dev, uint64_t ino, uint64_t offset,
	uint64_t len, struct want *w);

/*
 * Call `each` for the blobs of all files; none goes before it returns. False: some file's blob is
 * not served yet, and was passed over.
 */
bool fanotify_files_each(
	struct fanotify_files *f, void (*each)(void *arg, struct served_blob *b), void *arg);

#endif
