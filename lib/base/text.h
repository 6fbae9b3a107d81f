/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Words and numbers as people read them. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/*
 * A name of any bytes as printable ASCII, with the others as \ooo (as git shows paths): fit for
 * a line on a terminal and for JSON. The caller frees it.
 */
char *text_printable(const char *s, size_t len) __attribute__((malloc, returns_nonnull));

/* A path for a message: text_printable(), and no more than its first 4,096 bytes. */
char *text_shown(const char *path) __attribute__((malloc, returns_nonnull));

#define TEXT_NUMBER_MAX 32

/* "1,234,567"; returns buf. */
const char *text_count(uint64_t n, char buf[static TEXT_NUMBER_MAX]);

/* "512 B", "1.5 KiB", "310 MiB": three digits or so; returns buf. */
const char *text_bytes(uint64_t n, char buf[static TEXT_NUMBER_MAX]);

#endif
