/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Data for answers to reads. */
#ifndef SERVE_FUSE_ANSWER_H
#define SERVE_FUSE_ANSWER_H

#include <stddef.h>
#include <stdint.h>

/* A buffer of that size, for one answer: memory that an answer before had is not faulted in anew.
 */
void *fuse_answer_buffer(size_t size);
void fuse_answer_done(void *buffer, size_t size);

/*
 * All of these bytes of a file: 0, or the errno, for fewer than that, too. On a thread that hears
 * requests, another one does so before it waits for a disk.
 */
int fuse_answer_read(int fd, uint64_t offset, void *buf, size_t len);

#endif
