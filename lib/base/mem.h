/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Allocation that does not fail: when the system has no memory left, the process says so and
 * ends at once. That is safe here because outputs have no name until they are complete (or a
 * hidden one, which the next run sweeps), and because every size that comes from outside is
 * bounded before it is allocated.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

/* The end of the process; for allocations that a library makes. */
void mem_exhausted(void) __attribute__((noreturn));

void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *xzalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc_array(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
void *xmemdup(const void *p, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
char *xvasprintf(const char *fmt, va_list ap)
	__attribute__((format(printf, 1, 0), returns_nonnull));

/*
 * Room for one more element in a growing array: returns p, perhaps moved, so that element
 * [n] may be written. *cap is the number of elements that p has room for.
 */
void *xgrow(void *p, size_t n, size_t *cap, size_t size) __attribute__((returns_nonnull));

#endif
