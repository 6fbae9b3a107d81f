/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Cleanup by scope: a variable that carries one of these attributes releases what it
 * holds when its scope ends, so error paths are a plain return.
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}

/* Also before the scope ends: it is closed once, for its number may soon be somebody else's. */
static inline void cleanup_fd_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void cleanup_fclose_(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define CLEANUP_FREE   CLEANUP(cleanup_free_)
#define CLEANUP_FD     CLEANUP(cleanup_fd_)
#define CLEANUP_FCLOSE CLEANUP(cleanup_fclose_)

/* The value of a scoped variable, which no longer owns it: for a return or a hand-over. */
static inline void *take_ptr_(void *p)
{
	void *v = *(void **)p;

	*(void **)p = NULL;
	return v;
}

#define take_ptr(var) ((__typeof__(var))take_ptr_(&(var)))

static inline int take_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

#endif
