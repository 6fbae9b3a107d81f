// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Opening a blob that another process fills or watches. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/store/blob.h"
#include "lib/store/lock.h"

int store_blob_watch(struct store_blob *b, struct error **err)
{
	char digest[DIGEST_MAX_STR];

	if (!b->bits) /* of a complete one there is nothing to be asked */
		return 0;
	b->watched = b->watched || (!b->private && store_own(b->store, b->cache_fd) == 0);
	if (b->watched)
		return 0;
	if (!b->private && errno != EWOULDBLOCK)
		return error_set(err, errno, "cannot lock %s", b->path);
	error_set(err, 0, "blob %s: another process fills it", digest_format(&b->digest, digest));
	return error_hint(err, "again when that process is done with it, or another --transport");
}

int blob_become_private(struct store_blob *b, struct error **err)
{
	b->cache_fd = openat(b->store->blobs_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (b->cache_fd < 0 || ftruncate(b->cache_fd, (off_t)b->map.size) < 0)
		return error_set(err, errno, "cannot make a private copy of %s", b->path);
	log_debug("%s: another process fills it; a private copy is used", b->path);
	free(b->path);
	b->path = xasprintf("/proc/self/fd/%d", b->cache_fd);
	b->private = true;
	b->bits = xcalloc(map_words(b->map.n_frames) + 1, sizeof(*b->bits));
	atomic_store(&b->present, 0);
	return 0;
}

/* What the map on the disk says is there: each of its bits came after its data. */
static int read_foreign_map(struct store_blob *b, struct error **err)
{
	char name[STORE_NAME_MAX];
	uint32_t present = 0;
	map_fault why;
	CLEANUP_FD int fd = openat(
		b->store->blobs_fd, store_name(b->stem, STORE_MAP, name), O_RDONLY | BLOB_OPEN);

	b->synced = xcalloc(map_words(b->map.n_frames) + 1, sizeof(*b->synced));
	why = fd < 0 ? "it has no map" : map_check_header(fd, &b->map);
	if (!why)
		why = map_read_bits(fd, b->map.n_frames, b->synced, &present);
	atomic_store(&b->present, present);
	if (!why)
		return 0;
	error_set(err, 0, "%s: another process fills it, and its map is damaged: %s", b->path, why);
	return error_hint(err, "again when that process is done with it");
}

/* Under the store's lock: whoever sets it aside or completes it does so before or after us. */
int blob_become_guest(struct store_blob *b, struct error **err)
{
	CLEANUP_STORE_LOCK struct store *locked = store_lock(b->store, err);
	size_t n = map_words(b->map.n_frames);
	char name[STORE_NAME_MAX];
	struct stat st;

	if (!locked || read_foreign_map(b, err) < 0)
		return -1;
	b->cache_fd = openat(
		b->store->blobs_fd, store_name(b->stem, STORE_CACHE, name), O_RDWR | BLOB_OPEN);
	if (b->cache_fd < 0 || fstat(b->cache_fd, &st) < 0)
		return error_set(err, errno, "cannot open %s", b->path);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != b->map.size)
		return error_set(err, 0, "%s is not what its map says", b->path);
	if (store_is_others(b->store, b->cache_fd)) {
		blob_close_files(b);
		return blob_become_private(b, err);
	}
	lock_try(b->cache_fd, LOCK_SH);
	log_debug("%s: another process fills it, too", b->path);
	b->next = xcalloc(n + 1, sizeof(*b->next));
	b->bits = xcalloc(n + 1, sizeof(*b->bits));
	for (size_t i = 0; i < n; i++)
		atomic_init(&b->bits[i], b->synced[i]);
	return 0;
}
