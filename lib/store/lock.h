/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Who may do what now: the store's lock, a blob's filler, who has a cache open. */
#ifndef STORE_LOCK_H
#define STORE_LOCK_H

#include "lib/store/dir.h"

/*
 * The store's lock: files are made, opened, set aside and evicted, and space is counted, by one
 * process and thread at a time. Returns the store; NULL with *err also after an interrupt.
 */
struct store *store_lock(struct store *s, struct error **err);

static inline void cleanup_store_lock_(struct store **s);
#define CLEANUP_STORE_LOCK CLEANUP(cleanup_store_lock_)

void store_unlock(struct store *s);

/* Sleep a moment, longer each time, up to `max` milliseconds. -1 with *err after an interrupt. */
int store_pause(unsigned *ms, unsigned max, struct error **err);

enum lock_result { LOCK_TAKEN, LOCK_BUSY, LOCK_FAILED };

/* flock() without waiting: LOCK_EX or LOCK_SH. errno tells why it failed. */
enum lock_result lock_try(int fd, int operation);

/*
 * Has somebody else this cache file of blobs/ open: a process of ours, any other one, or the
 * kernel for a mount, in whichever namespace? Under the store's lock.
 */
bool store_in_use(const struct store *s, const char *stem);

static inline void cleanup_store_lock_(struct store **s)
{
	if (*s)
		store_unlock(*s);
}

#endif
