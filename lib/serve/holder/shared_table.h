/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Memory that holder and worker share: a memfd of a fixed size, sealed against changes of it. It
 * begins with a uint64_t, the magic number that tells its layout.
 */
#ifndef HOLDER_SHARED_TABLE_H
#define HOLDER_SHARED_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* A new one, zeros but for the magic number: its descriptor; -1 with errno. */
int shared_table_create(const char *name, size_t size, uint64_t magic);
/* Map it, for munmap(). NULL with errno: EINVAL where `fd` is not one of this size and layout. */
void *shared_table_map(int fd, size_t size, uint64_t magic);

#endif
