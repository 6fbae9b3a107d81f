/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Bytes in, from wherever: a file, a registry's answer.
 */
#ifndef STREAM_STREAM_H
#define STREAM_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/error.h"

struct stream {
	/* 1 to len bytes, 0 at the end, -1 with *err set. May block. */
	ssize_t (*read)(struct stream *s, void *buf, size_t len, struct error **err);
	void (*close)(struct stream *s); /* frees s too */
	/*
	 * Would read() have something to give at once, be it the end or an error? If not, `wake` is
	 * called when it would: once, on some thread, perhaps before this returns, never after
	 * close(). NULL: always.
	 */
	bool (*ready)(struct stream *s, void (*wake)(void *arg), void *arg);
};

/* The same for any stream; streams around others pass it on. */
static inline bool stream_ready(struct stream *s, void (*wake)(void *arg), void *arg)
{
	return !s->ready || s->ready(s, wake, arg);
}

/* Read a file; `name` is for errors. Takes the descriptor over. */
struct stream *stream_from_fd(int fd, const char *name);

/*
 * The bytes [offset, offset + size) of a file, which must have them. Takes the descriptor over;
 * it may share its position with others.
 */
struct stream *stream_from_range(int fd, uint64_t offset, uint64_t size, const char *name);

static inline void cleanup_stream_(struct stream **s)
{
	if (*s)
		(*s)->close(*s);
}

#define CLEANUP_STREAM CLEANUP(cleanup_stream_)

#endif
