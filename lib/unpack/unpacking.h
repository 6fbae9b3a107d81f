/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inside of unpack: an image that is being unpacked, whatever into. */
#ifndef UNPACK_UNPACKING_H
#define UNPACK_UNPACKING_H

#include <pthread.h>
#include <stdatomic.h>

#include "lib/base/workers.h"
#include "lib/image/erofs.h"
#include "lib/unpack/content.h"
#include "lib/unpack/unpack.h"

enum { UNPACK_VERIFYING, UNPACK_WRITING }; /* priorities of jobs */

struct blob_check;

struct unpacking {
	struct image_source *src;
	const struct unpack_options *options;
	struct unpack_result *result;
	struct erofs_found found;
	struct bootstrap *bootstrap;
	struct device **devices;
	struct frame_cache *cache; /* theirs */
	struct content content;
	struct workers *workers;
	struct blob_check *checks; /* one for each device */
	struct progress *progress;
	_Atomic uint64_t bytes; /* of data, written so far */

	pthread_mutex_t lock;
	struct error *error; /* the first one of any job */
	atomic_bool failed;
};

/*
 * Open and verify everything but the data blobs, whose bytes the workers begin to verify: with
 * the lower priority, beside what else there is to do.
 */
int unpacking_start(struct unpacking *u, struct error **err);

/* A job's error, which is taken over. */
void unpacking_fail(struct unpacking *u, struct error *e);

/* Has a job failed, or somebody interrupted us? */
bool unpacking_stopped(const struct unpacking *u);

/* Wait for the jobs, also those that verify; -1 if any has failed. */
int unpacking_wait(struct unpacking *u, struct error **err);

/* On all paths; waits for the jobs, too. */
void unpacking_end(struct unpacking *u);

/* A write to `where` failed: say so, and what to do about it. */
int unpacking_write_error(struct error **err, int code, const char *where);

#endif
