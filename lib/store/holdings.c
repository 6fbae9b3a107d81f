// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/store/holdings.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "lib/base/mem.h"
#include "lib/store/lock.h"
#include "lib/store/map.h"

/* A claim counts as long as its filler lives, and so has the map locked. */
static void read_map(struct holding *h, int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0)
		h->used = st.st_mtim;
	h->claim = map_read_claim(fd);
	if (h->claim && lock_try(fd, LOCK_SH) != LOCK_BUSY)
		h->claim = 0;
}

static bool read_one(struct holding *h, const struct store *s)
{
	char name[STORE_NAME_MAX];
	struct stat st;
	CLEANUP_FD int fd = openat(s->blobs_fd, store_name(h->stem, STORE_MAP, name),
		O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool no_map = fd < 0 && errno == ENOENT;

	h->orphan = no_map;
	if (fd >= 0)
		read_map(h, fd);
	if (fstatat(s->blobs_fd, store_name(h->stem, STORE_CACHE, name), &st,
		    AT_SYMLINK_NOFOLLOW) == 0)
		h->taken = store_disk_bytes(&st);
	else if (no_map)
		return false;
	return true;
}

static int by_use(const void *a, const void *b)
{
	const struct holding *x = a, *y = b;

	if (x->orphan != y->orphan)
		return x->orphan ? -1 : 1;
	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	if (x->used.tv_nsec != y->used.tv_nsec)
		return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
	return strcmp(x->stem, y->stem);
}

/* A blob is met by its map, or, when it has none, by its cache. */
static bool is_first_name(const struct store *s, struct holding *h, const char *file)
{
	char name[STORE_NAME_MAX];
	struct stat st;

	if (store_name_parse(file, STORE_MAP, &h->digest, h->stem))
		return true;
	return store_name_parse(file, STORE_CACHE, &h->digest, h->stem) &&
	       fstatat(s->blobs_fd, store_name(h->stem, STORE_MAP, name), &st,
		       AT_SYMLINK_NOFOLLOW) < 0;
}

int holdings_read(struct holdings *h, struct store *s, struct error **err)
{
	CLEANUP_CLOSEDIR DIR *dir = store_opendir(s->blobs_fd);
	struct dirent *e;

	if (!dir)
		return error_set(err, errno, "cannot read %s/blobs", s->dir);
	while ((e = readdir(dir))) {
		struct holding one = { 0 };

		if (!is_first_name(s, &one, e->d_name) || !read_one(&one, s))
			continue;
		h->of = xgrow(h->of, h->n, &h->cap, sizeof(*h->of));
		h->of[h->n++] = one;
	}
	if (h->n)
		qsort(h->of, h->n, sizeof(*h->of), by_use);
	return 0;
}
