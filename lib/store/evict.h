/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What goes when space is needed. All of it under the store's lock. */
#ifndef STORE_EVICT_H
#define STORE_EVICT_H

#include "lib/store/holdings.h"

/*
 * Choose what nobody uses, least recently used first and never the stem `keep` (NULL: none), until
 * `need` bytes come together or nothing is left; orphans in any case. Returns how many bytes that
 * is.
 */
uint64_t evict_choose(const struct store *s, struct holdings *h, const char *keep, uint64_t need);

/* Remove what was chosen. */
int evict_chosen(const struct store *s, const struct holdings *h, struct error **err);

#endif
