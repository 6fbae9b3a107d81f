// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void mem_exhausted(void)
{
	fputs("erofs-convert: out of memory\n", stderr);
	_exit(1); /* other threads run on: no cleanup that they could be in the way of */
}

static void *or_end(void *p)
{
	if (!p)
		mem_exhausted();
	return p;
}

void *xmalloc(size_t size)
{
	return or_end(malloc(size ? size : 1));
}

void *xzalloc(size_t size)
{
	return or_end(calloc(1, size ? size : 1));
}

void *xcalloc(size_t n, size_t size)
{
	return or_end(calloc(n ? n : 1, size));
}

void *xrealloc_array(void *p, size_t n, size_t size)
{
	return or_end(reallocarray(p, n ? n : 1, size));
}

void *xmemdup(const void *p, size_t size)
{
	void *copy = xmalloc(size);

	if (size)
		memcpy(copy, p, size);
	return copy;
}

char *xstrdup(const char *s)
{
	return or_end(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
	return or_end(strndup(s, n));
}

char *xvasprintf(const char *fmt, va_list ap)
{
	char *s;

	return or_end(vasprintf(&s, fmt, ap) < 0 ? NULL : s);
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = xvasprintf(fmt, ap);
	va_end(ap);
	return s;
}

void *xgrow(void *p, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return p;
	*cap = *cap ? *cap * 2 : 8;
	return xrealloc_array(p, *cap, size);
}
