// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Opening a blob: as its filler, or, when it is complete, as one of many readers. */
#include "config.h"

#include "lib/store/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/store/lock.h"

enum { FILLER_PAUSE_MAX = 100 }; /* milliseconds between two looks whether the filler is done */

/* What an attempt to open came to. */
enum take { TAKE_DONE, TAKE_BUSY, TAKE_ABSENT, TAKE_UNFIT, TAKE_FAILED };

/* Is it not the file that we have made? Then a new one takes its place. */
static bool is_odd_file(int code)
{
	return code == ELOOP || code == EISDIR || code == ENXIO || code == ENOTDIR;
}

static enum take cannot_open(const struct store_blob *b, const char *what, struct error **err)
{
	error_set(err, errno, "cannot %s %s", what, b->path);
	return TAKE_FAILED;
}

static enum take open_map(struct store_blob *b, map_fault *why, struct error **err)
{
	char name[STORE_NAME_MAX];

	b->map_fd = openat(
		b->store->blobs_fd, store_name(b->stem, STORE_MAP, name), O_RDWR | BLOB_OPEN);
	if (b->map_fd < 0 && errno == ENOENT)
		return TAKE_ABSENT;
	if (b->map_fd < 0 && is_odd_file(errno)) {
		*why = "its map is no file";
		return TAKE_UNFIT;
	}
	if (b->map_fd < 0)
		return cannot_open(b, "open the map of", err);
	switch (lock_try(b->map_fd, LOCK_EX)) {
	case LOCK_TAKEN:
		return TAKE_DONE;
	case LOCK_BUSY:
		return TAKE_BUSY;
	default:
		return cannot_open(b, "lock the map of", err);
	}
}

static enum take read_map(struct store_blob *b, map_fault *why)
{
	uint32_t present;

	*why = map_check_header(b->map_fd, &b->map);
	if (!*why) {
		b->synced = xcalloc(map_words(b->map.n_frames) + 1, sizeof(*b->synced));
		*why = map_read_bits(b->map_fd, b->map.n_frames, b->synced, &present);
	}
	if (*why)
		return TAKE_UNFIT;
	atomic_init(&b->present, present);
	return TAKE_DONE;
}

static enum take open_cache(struct store_blob *b, map_fault *why, struct error **err)
{
	char name[STORE_NAME_MAX];
	struct stat st;

	b->cache_fd = openat(b->store->blobs_fd, store_name(b->stem, STORE_CACHE, name),
		(store_blob_is_complete(b) ? O_RDONLY : O_RDWR) | BLOB_OPEN);
	if (b->cache_fd < 0 && errno != ENOENT && !is_odd_file(errno))
		return cannot_open(b, "open", err);
	if (b->cache_fd < 0)
		*why = "its cache file is missing";
	else if (fstat(b->cache_fd, &st) < 0 || !S_ISREG(st.st_mode))
		*why = "its cache file is no file";
	else if ((uint64_t)st.st_size != b->map.size)
		*why = "its map says more than its cache file can hold";
	if (*why)
		return TAKE_UNFIT;
	lock_try(b->cache_fd, LOCK_SH); /* where that fails, being open must do */
	return TAKE_DONE;
}

/* A blob that is complete stays so: no more than its cache is needed. */
static void become_reader(struct store_blob *b)
{
	cleanup_fd_(&b->map_fd);
	free(b->synced);
	b->synced = NULL;
}

static void become_filler(struct store_blob *b)
{
	size_t n = map_words(b->map.n_frames);

	b->next = xcalloc(n + 1, sizeof(*b->next));
	b->bits = xcalloc(n + 1, sizeof(*b->bits));
	for (size_t i = 0; i < n; i++)
		atomic_init(&b->bits[i], b->synced[i]);
	map_write_claim(b->map_fd, 0); /* that of a filler who was killed */
	b->filling = true;
}

void blob_close_files(struct store_blob *b)
{
	cleanup_fd_(&b->map_fd);
	cleanup_fd_(&b->cache_fd);
	free(b->synced);
	b->synced = NULL;
}

static enum take take(struct store_blob *b, map_fault *why, struct error **err)
{
	enum take t = open_map(b, why, err);

	if (t == TAKE_DONE)
		t = read_map(b, why);
	if (t == TAKE_DONE)
		t = open_cache(b, why, err);
	if (t == TAKE_DONE && b->shy && !store_blob_is_complete(b) &&
		store_is_others(b->store, b->cache_fd))
		t = TAKE_BUSY; /* its filler has died, who watches has not */
	if (t != TAKE_DONE) {
		blob_close_files(b);
		return t;
	}
	futimens(b->map_fd, NULL); /* when it was used last: the order of eviction */
	if (store_blob_is_complete(b))
		become_reader(b);
	else
		become_filler(b);
	return TAKE_DONE;
}

/*
 * The whole size at once: it costs nothing yet, and the kernel sees the size of the device. Synced
 * by itself: a later sync that fails, of the data, may lose what it was about for ever.
 */
static int create_cache(struct store_blob *b, struct error **err)
{
	int at = b->store->blobs_fd;
	char name[STORE_NAME_MAX];
	CLEANUP_FD int fd = -1;

	store_name(b->stem, STORE_CACHE, name);
	if (unlinkat(at, name, 0) < 0 && errno != ENOENT)
		return error_set(err, errno, "cannot remove %s", b->path);
	fd = openat(at, name, O_RDWR | O_CREAT | O_EXCL | BLOB_OPEN, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)b->map.size) < 0 || fsync(fd) < 0) {
		error_set(err, errno, "cannot make %s", b->path);
		if (fd >= 0)
			unlinkat(at, name, 0);
		return -1;
	}
	return 0;
}

/*
 * The cache before the map: a cache without a map is nothing. The directory before both: were a
 * map's removal not yet on the disk, a power failure could bring the old map to the new cache. And
 * after both, but not before there is a bit to write: sync_names().
 */
static int create(struct store_blob *b, struct error **err)
{
	struct store *s = b->store;

	if (fsync(s->blobs_fd) < 0)
		return error_set(err, errno, "cannot sync %s/blobs", s->dir);
	if (create_cache(b, err) < 0)
		return -1;
	return map_create(s, b->stem, &b->map, err);
}

static enum take take_or_create(struct store_blob *b, struct error **err)
{
	CLEANUP_STORE_LOCK struct store *locked = store_lock(b->store, err);
	char digest[DIGEST_MAX_STR];
	map_fault why = NULL;
	enum take t = locked ? take(b, &why, err) : TAKE_FAILED;

	if (t != TAKE_ABSENT && t != TAKE_UNFIT)
		return t;
	if (t == TAKE_UNFIT) {
		log_warn("the store's copy of %s is set aside: %s",
			digest_format(&b->digest, digest), why);
		if (store_set_aside(b->store, b->stem, err) < 0)
			return TAKE_FAILED;
	}
	if (create(b, err) < 0)
		return TAKE_FAILED;
	t = take(b, &why, err);
	if (t == TAKE_ABSENT || t == TAKE_UNFIT) {
		error_set(err, 0, "cannot begin %s: %s", b->path, why ? why : "it vanishes");
		return TAKE_FAILED;
	}
	return t;
}

static struct store_blob *blob_new(struct store *s, const struct store_spec *spec)
{
	struct store_blob *b = xzalloc(sizeof(*b));
	char name[STORE_NAME_MAX];

	b->store = s;
	b->digest = spec->digest;
	b->map = map_of_spec(spec);
	store_stem(&spec->digest, &b->map, b->stem);
	b->path = xasprintf("%s/blobs/%s", s->dir, store_name(b->stem, STORE_CACHE, name));
	b->cache_fd = b->map_fd = -1;
	pthread_rwlock_init(&b->writing, NULL);
	pthread_mutex_init(&b->sync_lock, NULL);
	pthread_mutex_init(&b->fill_lock, NULL);
	return b;
}

static struct store_blob *blob_begin(
	struct store *s, const struct store_spec *spec, struct error **err)
{
	CLEANUP_STORE_BLOB struct store_blob *b = blob_new(s, spec);
	struct fault fault = { 0 };

	if (presence_map_check(&b->map, &fault) == 0)
		return take_ptr(b);
	error_set(err, 0, "%s cannot be stored: %s", b->path, fault.what);
	return NULL;
}

struct store_blob *store_blob_open(
	struct store *s, const struct store_spec *spec, struct error **err)
{
	CLEANUP_STORE_BLOB struct store_blob *b = blob_begin(s, spec, err);
	unsigned ms = 5;
	enum take t;

	if (!b)
		return NULL;
	while ((t = take_or_create(b, err)) == TAKE_BUSY) {
		if (ms == 5)
			log_debug("%s: another process fills it; waiting", b->path);
		if (store_pause(&ms, FILLER_PAUSE_MAX, err) < 0)
			return NULL;
	}
	return t == TAKE_DONE ? take_ptr(b) : NULL;
}

static enum take take_shyly(struct store_blob *b, struct error **err)
{
	b->shy = true;
	return take_or_create(b, err);
}

struct store_blob *store_blob_open_now(
	struct store *s, const struct store_spec *spec, struct error **err)
{
	CLEANUP_STORE_BLOB struct store_blob *b = blob_begin(s, spec, err);
	enum take t = b ? take_shyly(b, err) : TAKE_FAILED;

	if (t == TAKE_BUSY && blob_become_private(b, err) == 0)
		t = TAKE_DONE;
	return t == TAKE_DONE ? take_ptr(b) : NULL;
}

struct store_blob *store_blob_open_shared(
	struct store *s, const struct store_spec *spec, struct error **err)
{
	CLEANUP_STORE_BLOB struct store_blob *b = blob_begin(s, spec, err);
	enum take t = b ? take_shyly(b, err) : TAKE_FAILED;

	if (t == TAKE_BUSY && blob_become_guest(b, err) == 0)
		t = TAKE_DONE;
	return t == TAKE_DONE ? take_ptr(b) : NULL;
}

void store_blob_close(struct store_blob *b)
{
	CLEANUP_ERROR struct error *err = NULL;

	if (!b)
		return;
	if (b->filling && !interrupt_pending() && store_blob_sync(b, &err) < 0)
		log_debug("%s", err->msg);
	blob_end_filling(b);
	if (b->watched)
		store_disown(b->store, b->cache_fd);
	blob_close_files(b);
	pthread_rwlock_destroy(&b->writing);
	pthread_mutex_destroy(&b->sync_lock);
	pthread_mutex_destroy(&b->fill_lock);
	free(b->bits);
	free(b->next);
	free(b->path);
	free(b);
}

int store_blob_fd(const struct store_blob *b)
{
	return b->cache_fd;
}

const char *store_blob_path(const struct store_blob *b)
{
	return b->path;
}

int store_blob_check_path(const struct store_blob *b, struct error **err)
{
	struct stat mine, there;

	if (fstat(b->cache_fd, &mine) == 0 && stat(b->path, &there) == 0 &&
		mine.st_dev == there.st_dev && mine.st_ino == there.st_ino)
		return 0;
	error_set(err, 0,
		"%s is no longer the file that was verified: another process has found it damaged "
		"and begun anew, or somebody has removed it",
		b->path);
	return error_hint(err, "the same again");
}

static int set_aside(struct store *s, const char *stem, struct error **err)
{
	CLEANUP_STORE_LOCK struct store *locked = store_lock(s, err);

	return locked ? store_set_aside(s, stem, err) : -1;
}

int store_blob_discard(struct store_blob *b, struct error **err)
{
	int rc = set_aside(b->store, b->stem, err);

	store_blob_close(b);
	return rc;
}
