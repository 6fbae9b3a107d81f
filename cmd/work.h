/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What verbs with much to do share: threads, progress, limits. */
#ifndef CMD_WORK_H
#define CMD_WORK_H

#include "lib/base/progress.h"

enum { WORK_JOBS_MAX = 256 };

/* How many threads: what --jobs said, or, for 0, one for each processor that is ours. */
unsigned work_jobs(uint64_t jobs);

/* How --progress and --quiet want it shown. */
enum progress_mode work_progress(void);

/* As many open files as the system lets us have: an image may have many blobs. */
void work_raise_file_limit(void);

#endif
