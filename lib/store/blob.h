/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A handle on a blob. */
#ifndef STORE_BLOB_H
#define STORE_BLOB_H

#include <stdatomic.h>

#include "lib/store/map.h"

struct store_blob {
	struct store *store;
	struct digest digest;
	struct presence_map map;
	char stem[STORE_STEM_MAX]; /* of its files' names */
	char *path; /* of the cache */
	bool private; /* which has no name */
	bool shy; /* of files that another process watches */
	bool watched; /* it is our own: store_own() */
	int cache_fd; /* flock() shared: in use */
	/* flock() exclusive: the filler. -1: the blob was complete when it was opened, or another
	 * process is its filler. Then the cache is a private copy without a name, or (`next`) the
	 * one that the other fills, too. */
	int map_fd;

	/* Those that are set: written, fit to be read. NULL: all. */
	_Atomic uint64_t *bits;
	_Atomic uint32_t present;
	/* Shared while a frame is written and its bit set, exclusive while bits are taken back. */
	pthread_rwlock_t writing;
	void (*lost)(void *arg); /* before that; or NULL */
	void *lost_arg;

	pthread_mutex_t sync_lock; /* one sync at a time; for `synced` and `next` */
	uint64_t *synced; /* those that are in the map on the disk; without a map, on the disk */
	uint64_t *next; /* those that a sync is about */
	bool names_synced; /* the files' names are on the disk */

	pthread_mutex_t fill_lock; /* for `filling` and the claim */
	bool filling; /* we hold the filler's lock */
	uint64_t reserved; /* bytes */
	_Atomic uint64_t written; /* bytes, that use up what is reserved */
};

/* How any file of a blob is opened (fcntl.h). */
#define BLOB_OPEN (O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

void blob_close_files(struct store_blob *b);

/* Somebody else fills it: keep what is read for this process alone. */
int blob_become_private(struct store_blob *b, struct error **err);
/* Or write to the same cache, without its map; where that is watched, become private. */
int blob_become_guest(struct store_blob *b, struct error **err);

/* All frames are there and on the disk: give the filler's lock and what is reserved back. */
void blob_end_filling(struct store_blob *b);

#endif
