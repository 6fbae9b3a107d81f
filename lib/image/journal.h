/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What a commit into an image layout is about to add: a hidden file in the layout, there from
 * before the first blob gets its name until index.json points at all of them. Who finds one
 * while holding the layout's lock finds the rest of a commit that was killed, and removes the
 * blobs it names, unless something in the layout refers to them.
 */
#ifndef IMAGE_JOURNAL_H
#define IMAGE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"

#define JOURNAL_FILE ".erofs-convert.journal"

/* All of these need the layout's lock (dest.c). `fresh`: the directory was empty before. */
int journal_write(
	const char *dir, bool fresh, const struct digest *blobs, size_t n, struct error **err);
void journal_remove(const char *dir);

/*
 * Undo what the journal says, if there is one. When anything in the layout cannot be read, it
 * cannot be known what is still needed: then nothing but the journal goes.
 */
void journal_recover(const char *dir);

#endif
