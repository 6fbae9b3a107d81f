// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/transport/fuse_answer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/serve/transport/fuse_servers.h"
#include "lib/store/io.h"

enum {
	SMALL = 64 * 1024, /* bytes: malloc() has these at hand, too */
	BUFFER_SIZE = 1024 * 1024, /* libfuse takes no larger requests */
	KEPT_MAX = 4, /* buffers; of one, only what was needed once takes memory */
};

/* The one that was used last is taken first: it may be in the processor's cache. */
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static void *kept[KEPT_MAX];
static unsigned n_kept;

static bool is_kept(size_t size)
{
	return size > SMALL && size <= BUFFER_SIZE;
}

void *fuse_answer_buffer(size_t size)
{
	void *buffer = NULL;

	if (!is_kept(size))
		return xmalloc(size);
	pthread_mutex_lock(&kept_lock);
	if (n_kept)
		buffer = kept[--n_kept];
	pthread_mutex_unlock(&kept_lock);
	return buffer ? buffer : xmalloc(BUFFER_SIZE);
}

void fuse_answer_done(void *buffer, size_t size)
{
	bool keep;

	if (!is_kept(size)) {
		free(buffer);
		return;
	}
	pthread_mutex_lock(&kept_lock);
	keep = n_kept < KEPT_MAX;
	if (keep)
		kept[n_kept++] = buffer;
	pthread_mutex_unlock(&kept_lock);
	if (!keep)
		free(buffer);
}

/* What is in the page cache, from the front; where that cannot be told, nothing. */
static size_t read_cached(int fd, uint64_t offset, void *buf, size_t len)
{
	struct iovec all = { buf, len };
	ssize_t n = preadv2(fd, &all, 1, (off_t)offset, RWF_NOWAIT);

	return n > 0 ? (size_t)n : 0;
}

int fuse_answer_read(int fd, uint64_t offset, void *buf, size_t len)
{
	size_t done = fuse_servers_have_me() ? read_cached(fd, offset, buf, len) : 0;

	if (done < len)
		fuse_servers_step_aside();
	return io_read(fd, (char *)buf + done, len - done, offset + done) < 0 ? errno : 0;
}
