/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The store's directory: what is in it, and under which names. */
#ifndef STORE_DIR_H
#define STORE_DIR_H

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>

#include "lib/store/store.h"

struct store {
	char *dir; /* absolute */
	uint64_t limit; /* 0: the disk's alone */
	int fd, blobs_fd, aside_fd; /* directories */
	int lock_fd; /* flock(): the other processes' turn (lock.h); says what is promised
			(reserve.c) */
	pthread_mutex_t mutex; /* the other threads' turn, for they share lock_fd */
};

/* A blob's files in blobs/. */
#define STORE_CACHE    ".cache"
#define STORE_MAP      ".map"
#define STORE_NAME_MAX (DIGEST_MAX_STR + 8)

/* "sha256-<hex>" and the suffix; returns buf. */
const char *store_name(const struct digest *d, const char *suffix, char buf[static STORE_NAME_MAX]);

/* Is that such a name? Then whose. */
bool store_name_parse(struct digest *d, const char *name, const char *suffix);

/* Look through a directory, from its beginning; NULL with errno. */
DIR *store_opendir(int fd);

/* Set a blob's files aside: from now on they are nobody's, until they are removed. */
int store_set_aside(struct store *s, const struct digest *d, struct error **err);

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
