/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * One error object that gathers a sentence on its way up.
 *
 * A function that can fail takes `struct error **err` as its last parameter and returns -1
 * (or NULL) after error_set(); its callers may put what they know in front with error_wrap().
 * The result reads outermost first: "convert app:1: layer 3: etc/passwd: size is negative".
 * *err must be NULL when it is handed in; err itself is never NULL.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "lib/base/cleanup.h"

struct error {
	char *msg; /* the sentence, without a full stop */
	char *hint; /* what to try, or NULL */
	int code; /* an errno value, or 0 */
};

/*
 * Make the error. With a code other than 0, ": " and its strerror text end the sentence.
 * Returns -1, so that `return error_set(...)` is the whole error path.
 */
int error_set(struct error **err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "text: " in front of the sentence. Returns -1. */
int error_wrap(struct error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Say what to try; an earlier hint, made nearer to the fault, stays. Returns -1. */
int error_hint(struct error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void error_free(struct error *e);

static inline void cleanup_error_(struct error **e)
{
	error_free(*e);
}

#define CLEANUP_ERROR CLEANUP(cleanup_error_)

#endif
