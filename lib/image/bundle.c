// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"

char *bundle_name(const struct bundle *b, const char *name)
{
	CLEANUP_FREE char *text = NULL;

	if (b->dir)
		return xasprintf("%s/%s", b->dir, name);
	text = text_printable(name, strnlen(name, 255));
	return xasprintf("%s in %s", text, b->archive->path);
}

/*
 * Links are followed: layouts may share one pool of blobs that way. Anything but a regular
 * file is refused, without waiting for a writer as open() of a FIFO would.
 */
static int open_file(const char *path, struct file_range *r, struct error **err)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot open %s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, 0, "%s is not a regular file", path);
	*r = (struct file_range){ take_fd(&fd), 0, (uint64_t)st.st_size };
	return 0;
}

static int open_member(
	const struct archive *a, const char *name, struct file_range *r, struct error **err)
{
	const struct tar_member *m = tar_index_find(&a->index, name, err);
	int fd;

	if (!m)
		return -1;
	fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return error_set(err, errno, "cannot open %s again", a->path);
	*r = (struct file_range){ fd, m->offset, m->size };
	return 0;
}

int bundle_open(const struct bundle *b, const char *name, struct file_range *r, struct error **err)
{
	CLEANUP_FREE char *path = NULL;

	*r = FILE_RANGE_NONE;
	if (!b->dir)
		return open_member(b->archive, name, r, err);
	path = bundle_name(b, name);
	return open_file(path, r, err);
}

int file_range_read(const struct file_range *r, void *p, const char *name, struct error **err)
{
	for (uint64_t done = 0; done < r->size;) {
		ssize_t n = pread(r->fd, (char *)p + done, (size_t)(r->size - done),
			(off_t)(r->offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "cannot read %s", name);
		if (n == 0)
			return error_set(err, 0, "%s became shorter while it was read", name);
		done += (uint64_t)n;
	}
	return 0;
}

char *bundle_read(
	const struct bundle *b, const char *name, uint64_t max, size_t *size, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;
	CLEANUP_FREE char *text = bundle_name(b, name);
	CLEANUP_FREE char *bytes = NULL;

	if (bundle_open(b, name, &r, err) < 0)
		return NULL;
	if (r.size > max) {
		error_set(err, 0, "%s has %llu bytes, more than the %llu allowed", text,
			(unsigned long long)r.size, (unsigned long long)max);
		return NULL;
	}
	bytes = xzalloc(r.size + 1);
	if (file_range_read(&r, bytes, text, err) < 0)
		return NULL;
	*size = r.size;
	return take_ptr(bytes);
}
