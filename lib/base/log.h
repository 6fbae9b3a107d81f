/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Lines for people, on stderr. The library says nothing else to anyone: results go up as
 * values, faults as errors. A line never tears one of another thread, nor a progress bar.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_QUIET, LOG_NORMAL, LOG_DEBUG };

void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

/* "warning: ..."; silent with --quiet. */
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A plain line; silent with --quiet. */
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Only with --debug. */
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "error: ..."; never silent. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * The one line that log lines step around: progress.c draws it. draw() is called with the
 * log's lock held, to clear (false) or to paint again (true).
 */
void log_set_status(void (*draw)(void *arg, bool show), void *arg);
void log_lock(void);
void log_unlock(void);

#endif
