/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The store's directory: what is in it. */
#ifndef STORE_DIR_H
#define STORE_DIR_H

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>

#include "lib/store/name.h"
#include "lib/store/store.h"

struct store {
	char *dir; /* absolute */
	uint64_t limit; /* 0: the disk's alone */
	int fd, blobs_fd, aside_fd; /* directories */
	int lock_fd; /* flock(): the other processes' turn (lock.h); says what is promised
			(reserve.c) */
	pthread_mutex_t mutex; /* the other threads' turn, for they share lock_fd */

	int owner_fd; /* locks on inodes' numbers: owner.c */
	pthread_mutex_t own_mutex; /* for those below */
	uint64_t *own; /* inodes that this process has asked for */
	size_t n_own, cap_own;
};

/* Look through a directory, from its beginning; NULL with errno. */
DIR *store_opendir(int fd);

/* Set a blob's files aside: from now on they are nobody's, until they are removed. */
int store_set_aside(struct store *s, const char *stem, struct error **err);

/* What lies there takes how many bytes on the disk? And: remove it. */
uint64_t store_aside_bytes(const struct store *s);
void store_aside_remove(const struct store *s);

/* Bytes that a file takes on the disk. */
uint64_t store_disk_bytes(const struct stat *st);

static inline void cleanup_closedir_(DIR **d)
{
	if (*d)
		closedir(*d);
}
#define CLEANUP_CLOSEDIR CLEANUP(cleanup_closedir_)

#endif
