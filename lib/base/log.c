// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

static struct {
	pthread_mutex_t lock;
	enum log_level level;
	void (*draw)(void *arg, bool show);
	void *draw_arg;
} logger = { .lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_NORMAL };

void log_set_level(enum log_level level)
{
	logger.level = level;
}

bool log_enabled(enum log_level level)
{
	return logger.level >= level;
}

void log_lock(void)
{
	pthread_mutex_lock(&logger.lock);
}

void log_unlock(void)
{
	pthread_mutex_unlock(&logger.lock);
}

void log_set_status(void (*draw)(void *arg, bool show), void *arg)
{
	log_lock();
	logger.draw = draw;
	logger.draw_arg = arg;
	log_unlock();
}

/*
 * Paths in messages may hold anything: control characters are shown as \ooo, so that a line
 * stays one line and no image speaks to the terminal. Other bytes are the locale's business.
 */
static void show_controls(char **text)
{
	char *out, *at;
	size_t n = 0;

	for (const char *c = *text; *c; c++)
		n += (unsigned char)*c < ' ' || *c == 0x7f;
	if (!n)
		return;
	out = at = xmalloc(strlen(*text) + 3 * n + 1);
	for (const char *c = *text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			at += sprintf(at, "\\%03o", (unsigned char)*c);
		else
			*at++ = *c;
	}
	*at = '\0';
	free(*text);
	*text = out;
}

__attribute__((format(printf, 2, 0))) static void line(
	const char *label, const char *fmt, va_list ap)
{
	CLEANUP_FREE char *text = xvasprintf(fmt, ap);

	show_controls(&text);
	log_lock();
	if (logger.draw)
		logger.draw(logger.draw_arg, false);
	fprintf(stderr, "erofs-convert: %s%s\n", label, text);
	if (logger.draw)
		logger.draw(logger.draw_arg, true);
	log_unlock();
}

#define LOG_LINE(min, label)           \
	do {                           \
		va_list ap;            \
		if (!log_enabled(min)) \
			return;        \
		va_start(ap, fmt);     \
		line(label, fmt, ap);  \
		va_end(ap);            \
	} while (0)

void log_warn(const char *fmt, ...)
{
	LOG_LINE(LOG_NORMAL, "warning: ");
}

void log_info(const char *fmt, ...)
{
	LOG_LINE(LOG_NORMAL, "");
}

void log_debug(const char *fmt, ...)
{
	LOG_LINE(LOG_DEBUG, "debug: ");
}

void log_error(const char *fmt, ...)
{
	LOG_LINE(LOG_QUIET, "error: ");
}
