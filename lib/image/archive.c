// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/stream/decompress.h"
#include "lib/stream/spool.h"

static int open_input(const char *path, struct error **err)
{
	int fd;

	if (strcmp(path, "-") == 0)
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? error_set(err, errno, "cannot open it") : fd;
}

/* Can it be read at any place, from its start on? */
static bool lies_in_file(int fd, const struct stat *st)
{
	uint8_t magic[STREAM_MAGIC_SIZE] = { 0 };

	if (!S_ISREG(st->st_mode) || lseek(fd, 0, SEEK_CUR) != 0)
		return false;
	return pread(fd, magic, sizeof(magic), 0) >= 0 && !stream_is_compressed(magic);
}

static int spool(struct archive *a, uint64_t *size, struct error **err)
{
	CLEANUP_STREAM struct stream *s =
		stream_decompress(stream_from_fd(take_fd(&a->fd), a->path));

	a->fd = stream_spool(s, size, err);
	return a->fd < 0 ? -1 : 0;
}

static int open_tar(struct archive *a, const char *path, struct error **err)
{
	uint64_t size;
	struct stat st;

	a->fd = open_input(path, err);
	if (a->fd < 0)
		return -1;
	if (fstat(a->fd, &st) < 0)
		return error_set(err, errno, "cannot look at it");
	if (S_ISDIR(st.st_mode)) {
		error_set(err, 0, "it is a directory, not an archive");
		return error_hint(err, "an image layout in a directory is oci:DIR[:TAG]");
	}
	size = (uint64_t)st.st_size;
	if (!lies_in_file(a->fd, &st) && spool(a, &size, err) < 0)
		return -1;
	if (size == 0)
		return error_set(err, 0, "it is empty");
	return tar_index_read(&a->index, a->fd, size, err);
}

struct archive *archive_open(const char *path, struct error **err)
{
	CLEANUP_ARCHIVE struct archive *a = xzalloc(sizeof(*a));

	a->references = 1;
	a->fd = -1;
	a->path = xstrdup(strcmp(path, "-") == 0 ? "standard input" : path);
	return open_tar(a, path, err) < 0 ? NULL : take_ptr(a);
}

struct archive *archive_ref(struct archive *a)
{
	a->references++;
	return a;
}

void archive_unref(struct archive *a)
{
	if (!a || --a->references)
		return;
	if (a->fd >= 0)
		close(a->fd);
	tar_index_free(&a->index);
	free(a->path);
	free(a);
}
