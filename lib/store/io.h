/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* pread(2), pwrite(2) and fdatasync(2) to the end, and what begins the latter. */
#ifndef STORE_IO_H
#define STORE_IO_H

#include <stddef.h>
#include <stdint.h>

int io_read(int fd, void *p, size_t len, uint64_t offset); /* -1 with errno; EIO: the file ends */
int io_write(int fd, const void *p, size_t len, uint64_t offset); /* -1 with errno */
int io_sync(int fd); /* -1 with errno */
void io_push(int fd); /* so that io_sync() finds less to do, and tells of errors */

#endif
