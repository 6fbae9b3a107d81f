/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Whom damage in a data blob concerns. */
#ifndef VERIFY_USERS_H
#define VERIFY_USERS_H

#include "lib/bootstrap/read.h"

/*
 * The files with data in blocks [first, first + n) of a device (1 and up), in words: "/a, /b,
 * /c and 12 other files", or "no file". The bootstrap may be damaged. The caller frees it.
 */
char *users_of_blocks(const struct bootstrap *b, unsigned device, uint64_t first, uint64_t n);

#endif
