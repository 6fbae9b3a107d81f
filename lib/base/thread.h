/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

#include "lib/base/error.h"

/*
 * Start a thread that runs run(arg), with all signals blocked: they are for the threads that look
 * for them. The caller joins it. 0, or -1 with *err.
 */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg, struct error **err);

/* Processors that this process may use (sched_setaffinity(2)); 1 where that cannot be told. */
unsigned thread_processors(void);

#endif
