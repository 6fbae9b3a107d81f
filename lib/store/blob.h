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
	char *path; /* of the cache */
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

	pthread_mutex_t sync_lock; /* one sync at a time; for `synced` and `next` */
	uint64_t *synced; /* those that are in the map on the disk; without a map, on the disk */
	uint64_t *next; /* those that a sync is about */

	pthread_mutex_t fill_lock; /* for `filling` and the claim */
	bool filling; /* we hold the filler's lock */
	uint64_t reserved; /* bytes */
	_Atomic uint64_t written; /* bytes, that use up what is reserved */
};

/* All frames are there and on the disk: give the filler's lock and what is reserved back. */
void blob_end_filling(struct store_blob *b);

#endif
