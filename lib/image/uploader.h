/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Blobs on their way into a repository, in the background and a few at a time. One that is there is
 * not sent, one that another repository of the registry has is mounted from it.
 */
#ifndef IMAGE_UPLOADER_H
#define IMAGE_UPLOADER_H

#include "lib/base/digest.h"
#include "lib/base/outfile.h"
#include "lib/image/bundle.h"
#include "lib/image/remote.h"

struct registry;
struct uploader;

/* The registry stays the caller's. No thread is started before there is a blob. */
struct uploader *uploader_new(struct registry *registry);

/* Another repository to mount from, asked after those before it. Before the first blob. */
void uploader_mount_from(struct uploader *u, const char *repository);

/* Where a blob's bytes are: one of these. */
struct upload_bytes {
	struct outfile *file; /* all of it */
	struct file_range range; /* .fd -1: not this */
	struct remote *remote; /* fetched only if they must be sent */
};

/*
 * Send a blob; takes the bytes over, also on failure, and gives them back as soon as it is there.
 * Fails when another blob has failed meanwhile. One thread at a time. One that is added twice is
 * sent once.
 */
int uploader_add(struct uploader *u, const struct digest *digest, uint64_t size,
	struct upload_bytes bytes, struct error **err);

/* Until all are there, or one has failed: its error; the others are given up then. */
int uploader_wait(struct uploader *u, struct error **err);

/* How far it is; on any thread. */
struct upload_amount {
	uint64_t total,
		done; /* bytes: of all blobs, and of those that are there, or sent of them */
	size_t uploaded, mounted, present; /* blobs that are there, and why */
	uint64_t uploaded_bytes;
};
void uploader_amount(struct uploader *u, struct upload_amount *amount);

/* What is under way is given up. NULL is allowed. */
void uploader_free(struct uploader *u);

static inline void cleanup_uploader_(struct uploader **u)
{
	uploader_free(*u);
}

#define CLEANUP_UPLOADER CLEANUP(cleanup_uploader_)

#endif
