/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Where daemons are found: docs/man/erofs-convert-serve.1, "FILES". */
#ifndef CONTROL_PLACES_H
#define CONTROL_PLACES_H

#include <stddef.h>

#include "lib/base/error.h"

/*
 * Sockets and secrets of daemons: $EROFS_CONVERT_RUNTIME, else /run/erofs-convert for root,
 * $XDG_RUNTIME_DIR/erofs-convert for others; NULL when that is not set. The caller frees it.
 */
char *places_runtime(void);

/* The system daemon's socket; NULL as above. */
char *places_socket(void);

/*
 * Make the directory, of `mode`, and see that it is ours: others could replace what is in it. One
 * that is there gets what it lacks of the mode, and keeps what it has beyond.
 */
int places_make(const char *dir, unsigned mode, struct error **err);

/* A new directory (0700) for a daemon of its own; the caller frees it. NULL with *err. */
char *places_make_private(struct error **err);

/* The directories of such daemons that are there, in no order. places_free() frees it. */
struct places {
	char **dirs;
	size_t n, cap;
};
void places_list(struct places *p);
void places_free(struct places *p);
#define CLEANUP_PLACES CLEANUP(places_free)

#endif
