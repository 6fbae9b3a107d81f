/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What a blob's files in blobs/ are called. The stem of the name is made of the blob's digest, by
 * which people find it, and of all that the header of its map says: images that say different
 * things of one blob, of which at most one is right, have different files.
 */
#ifndef STORE_NAME_H
#define STORE_NAME_H

#include "fmt/presence_map.h"
#include "lib/base/digest.h"

enum { STORE_STEM_TAIL = 32 }; /* hex digits of that header's SHA-256 */

#define STORE_CACHE    ".cache"
#define STORE_MAP      ".map"
#define STORE_STEM_MAX (DIGEST_MAX_STR + 1 + STORE_STEM_TAIL)
#define STORE_NAME_MAX (STORE_STEM_MAX + 6)

/* "sha256-<hex>.<hex>": of the blob `d`, whose map says `m`. Returns buf. */
const char *store_stem(
	const struct digest *d, const struct presence_map *m, char buf[static STORE_STEM_MAX]);

/* The stem and the suffix; returns buf. */
const char *store_name(const char *stem, const char *suffix, char buf[static STORE_NAME_MAX]);

/* Is that such a name? Then of which blob, and its stem. */
bool store_name_parse(
	const char *name, const char *suffix, struct digest *d, char stem[static STORE_STEM_MAX]);

#endif
