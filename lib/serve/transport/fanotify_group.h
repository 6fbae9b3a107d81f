/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The kernel's side of pre-content events (fanotify(7), Linux 6.14): groups, marks, answers.
 *
 * A read of a marked file raises an event, and waits for its answer; also a read by whoever answers
 * the events. Readers of a group wait as long as any process has it open. When the last one closes
 * it, all are let through.
 */
#ifndef SERVE_FANOTIFY_GROUP_H
#define SERVE_FANOTIFY_GROUP_H

#include <stdint.h>

#include "lib/base/error.h"

/* A new group: its descriptor, whose reads do not block; -1 with *err. */
int fanotify_group_new(struct error **err);

/* Can files in `dir` be marked? Tried with a file that has no name. */
int fanotify_group_check_dir(int group, const char *dir, struct error **err);

/*
 * A mount of `dir`, which is nowhere, whose files raise no events in this group: a directory
 * descriptor (not O_PATH). All that is opened through it may be used freely, in whatever order file
 * and mount came to their marks. The mount goes with the last that is open in it.
 */
int fanotify_group_own_mount(int group, const char *dir, struct error **err);

/* Mark the file that is open at `fd`; it may be marked already. `path` is for the message. */
int fanotify_group_mark(int group, int fd, const char *path, struct error **err);
/* From now on its reads are let through; those that wait still wait for their answers. */
void fanotify_group_unmark(int group, int fd, const char *path);

/*
 * Call `each` with a descriptor (for reading and writing, closed afterwards) of every file that the
 * group has marked. They are opened in the mount of the directory `dir`, as far as they lie in its
 * filesystem and this process may open files by their handles (CAP_DAC_READ_SEARCH). How many of
 * them could not be opened; -1: it cannot be told what is marked.
 */
int fanotify_group_each_mark(int group, int dir, void (*each)(void *arg, int fd), void *arg);

#endif
