/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Which blob a file is, as events name it: by device and inode. */
#ifndef SERVE_FANOTIFY_FILES_H
#define SERVE_FANOTIFY_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/serve/shared_blob.h"

struct fanotify_files;

struct fanotify_files *fanotify_files_new(void);
void fanotify_files_free(struct fanotify_files *f); /* NULL is allowed; forgets all */

/* The blob's cache file; sets its `attached`. */
int fanotify_files_add(struct fanotify_files *f, struct shared_blob *b, struct error **err);
/* Once this returns, nobody wants anything of it any more through these files. Nothing to a blob
 * that is not there. */
void fanotify_files_remove(struct fanotify_files *f, struct shared_blob *b);
bool fanotify_files_has(struct fanotify_files *f, dev_t dev, ino_t ino);

/* engine_want() of the file's blob; false: there is none, and done() is not called. */
bool fanotify_files_want(struct fanotify_files *f, uint64_t dev, uint64_t ino, uint64_t offset,
	uint64_t len, struct want *w);

#endif
