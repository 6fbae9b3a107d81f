// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Filling a blob. In memory a bit says: written, fit to be read. On the disk it says: durable. Of
 * the two fdatasync() in a sync, the first makes that true before the map says it; the second is
 * there so that a later crash does not undo the work.
 */
#include "config.h"

#include "lib/store/blob.h"

#include <errno.h>
#include <string.h>
#include <sys/file.h>

#include "lib/store/io.h"
#include "lib/store/lock.h"

bool store_blob_has(const struct store_blob *b, uint32_t frame)
{
	uint64_t word;

	if (frame >= b->map.n_frames)
		return false;
	if (!b->bits)
		return true;
	word = atomic_load_explicit(&b->bits[frame / 64], memory_order_acquire);
	return word >> frame % 64 & 1;
}

uint32_t store_blob_next_absent(const struct store_blob *b, uint32_t from, uint32_t end)
{
	for (uint32_t i = from; b->bits && i < end && i < b->map.n_frames; i = (i | 63) + 1) {
		uint64_t word = atomic_load_explicit(&b->bits[i / 64], memory_order_acquire);
		uint64_t absent = ~word & UINT64_MAX << i % 64;
		uint32_t found = (i & ~63u) + (absent ? (uint32_t)__builtin_ctzll(absent) : 64);

		if (absent)
			return found < end ? found : end;
	}
	return end;
}

uint32_t store_blob_present(const struct store_blob *b)
{
	return atomic_load(&b->present);
}

uint32_t store_blob_n_frames(const struct store_blob *b)
{
	return b->map.n_frames;
}

uint64_t store_blob_size(const struct store_blob *b)
{
	return b->map.size;
}

bool store_blob_is_complete(const struct store_blob *b)
{
	return store_blob_present(b) == b->map.n_frames;
}

static int write_error(const struct store_blob *b, struct error **err, const char *what)
{
	int code = errno;

	error_set(err, code, "cannot %s %s", what, b->path);
	if (code == ENOSPC)
		error_hint(err, "free space on the store's disk, or --store on a larger one");
	else if (code == EDQUOT)
		error_hint(err, "the disk quota is used up; free space, or --store elsewhere");
	return -1;
}

/* Returns -1 with errno when the bytes could not be written. */
static int write_and_set(
	struct store_blob *b, uint32_t frame, uint64_t offset, const void *data, size_t len)
{
	uint64_t bit = UINT64_C(1) << frame % 64;

	if (io_write(b->cache_fd, data, len, offset) < 0)
		return -1;
	atomic_fetch_add(&b->written, len);
	if (!(atomic_fetch_or_explicit(&b->bits[frame / 64], bit, memory_order_acq_rel) & bit))
		atomic_fetch_add(&b->present, 1);
	return 0;
}

int store_blob_write(struct store_blob *b, uint32_t frame, uint64_t offset, const void *data,
	size_t len, struct error **err)
{
	int rc;

	if (frame >= b->map.n_frames || offset > b->map.size || len > b->map.size - offset)
		return error_set(err, 0, "frame %u does not lie within %s", frame, b->path);
	if (!b->bits)
		return error_set(err, 0, "%s is complete, and not written again", b->path);
	pthread_rwlock_rdlock(&b->writing);
	rc = write_and_set(b, frame, offset, data, len);
	pthread_rwlock_unlock(&b->writing);
	return rc < 0 ? write_error(b, err, "write") : 0;
}

/* What is set now goes to `next`. Is there anything in it that the disk has not? */
static bool take_snapshot(struct store_blob *b)
{
	bool news = false;

	for (size_t i = 0; i < map_words(b->map.n_frames); i++) {
		b->next[i] = atomic_load_explicit(&b->bits[i], memory_order_acquire);
		news |= b->next[i] != b->synced[i];
	}
	return news;
}

/*
 * A sync of the cache has failed. The kernel says so once, and then takes the pages for clean: what
 * they held may be lost, and the next sync would not know. So these frames are not there; nor
 * are those that were written by then, and whose bit comes now: they are waited for.
 */
static void forget_unsynced(struct store_blob *b)
{
	pthread_rwlock_wrlock(&b->writing);
	if (b->lost)
		b->lost(b->lost_arg);
	for (size_t i = 0; i < map_words(b->map.n_frames); i++) {
		uint64_t old = atomic_fetch_and(&b->bits[i], b->synced[i]);

		atomic_fetch_sub(&b->present, (uint32_t)__builtin_popcountll(old & ~b->synced[i]));
	}
	pthread_rwlock_unlock(&b->writing);
}

static bool all_synced(const struct store_blob *b)
{
	uint32_t n = 0;

	for (size_t i = 0; i < map_words(b->map.n_frames); i++)
		n += (uint32_t)__builtin_popcountll(b->synced[i]);
	return n == b->map.n_frames;
}

/*
 * Whoever made the files may have died before their names were on the disk. A map with a bit must
 * not come back beside an earlier cache, so the names go first; once for each filler.
 */
static int sync_names(struct store_blob *b, struct error **err)
{
	if (b->map_fd < 0 || b->names_synced)
		return 0;
	if (fsync(b->store->blobs_fd) < 0)
		return error_set(err, errno, "cannot sync %s/blobs", b->store->dir);
	b->names_synced = true;
	return 0;
}

static int sync_locked(struct store_blob *b, struct error **err)
{
	if (take_snapshot(b)) {
		if (io_sync(b->cache_fd) < 0) {
			write_error(b, err, "sync");
			forget_unsynced(b);
			return -1;
		}
		if (sync_names(b, err) < 0)
			return -1;
		if (b->map_fd >= 0 &&
			(map_write_bits(b->map_fd, b->map.n_frames, b->next, b->synced) < 0 ||
				io_sync(b->map_fd) < 0))
			return write_error(b, err, "write the map of");
		memcpy(b->synced, b->next, map_words(b->map.n_frames) * sizeof(*b->next));
	}
	if (all_synced(b))
		blob_end_filling(b);
	return 0;
}

int store_blob_sync(struct store_blob *b, struct error **err)
{
	int rc;

	if (!b->bits || !b->next) /* complete, or a private copy */
		return 0;
	pthread_mutex_lock(&b->sync_lock);
	rc = sync_locked(b, err);
	pthread_mutex_unlock(&b->sync_lock);
	return rc;
}

void store_blob_push(struct store_blob *b)
{
	if (b->bits && b->next)
		io_push(b->cache_fd);
}

void store_blob_on_loss(struct store_blob *b, void (*lost)(void *arg), void *arg)
{
	b->lost = lost;
	b->lost_arg = arg;
}

void blob_end_filling(struct store_blob *b)
{
	pthread_mutex_lock(&b->fill_lock);
	if (b->filling) {
		map_write_claim(b->map_fd, 0);
		flock(b->map_fd, LOCK_UN);
	}
	b->filling = false;
	pthread_mutex_unlock(&b->fill_lock);
}
