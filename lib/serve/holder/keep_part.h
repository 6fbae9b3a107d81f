/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What the files of keep share. */
#ifndef HOLDER_KEEP_PART_H
#define HOLDER_KEEP_PART_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/serve/holder/keep.h"

struct keep_entry {
	char *name;
	int fd;
};

struct keep {
	pthread_mutex_t lock; /* for what can change after keep_open() */
	struct keep_entry *entries;
	size_t n_entries, cap_entries;
	int socket; /* to the holder */
	pid_t child; /* the holder, when this process started it; else 0 */
	uint64_t spawned_at; /* CLOCK_MONOTONIC, nanoseconds; 0: never */
	unsigned failures; /* new holders that died at once, in a row */
	uint32_t serial;

	struct requests *requests;
	int wake;
	char **argv; /* this process's own */
	char *command_line; /* what argv points into */
	int stop; /* eventfd for the thread */
	pthread_t thread;
};

/* The path of the holder's program, the caller's to free; NULL with *err. */
char *keep_find_program(struct error **err);
/* argv of this process, from /proc; *buffer is what it points into. Both are the caller's. */
char **keep_command_line(char **buffer, struct error **err);

/* The holder is dead: start another with all that is kept. With the lock held. */
int keep_replace_holder(struct keep *k, struct error **err);
/* Is it? */
int keep_holder_is_dead(const struct keep *k);

uint64_t keep_now(void);

#endif
