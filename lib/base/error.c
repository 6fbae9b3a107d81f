// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/error.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "lib/base/mem.h"

int error_set(struct error **err, int code, const char *fmt, ...)
{
	CLEANUP_FREE char *text = NULL;
	struct error *e = xzalloc(sizeof(*e));
	va_list ap;

	assert(!*err);
	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	e->code = code;
	e->msg = code ? xasprintf("%s: %s", text, strerror(code)) : take_ptr(text);
	*err = e;
	return -1;
}

int error_wrap(struct error **err, const char *fmt, ...)
{
	CLEANUP_FREE char *text = NULL;
	char *whole;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	whole = xasprintf("%s: %s", text, (*err)->msg);
	free((*err)->msg);
	(*err)->msg = whole;
	return -1;
}

int error_hint(struct error **err, const char *fmt, ...)
{
	va_list ap;

	if ((*err)->hint)
		return -1;
	va_start(ap, fmt);
	(*err)->hint = xvasprintf(fmt, ap);
	va_end(ap);
	return -1;
}

void error_free(struct error *e)
{
	if (!e)
		return;
	free(e->msg);
	free(e->hint);
	free(e);
}
