/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The node's shared home of blobs. Each blob has a cache file, which is the device uncompressed
 * (sparse until it is complete), and a presence map with a bit for each frame. A bit in memory
 * is set after the frame has been written, on disk after a later fdatasync() of the cache file:
 * no bit is ever on disk without its data. docs/format/store.md has the bytes.
 *
 * Several processes may use a store. A blob has one filler at a time, who holds its lock;
 * everyone may read what is complete. What somebody has open (a process, or a mounted
 * filesystem) is in use and is not evicted; a file that is unlinked nevertheless stays good for
 * who has it open.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"

struct store;
struct store_blob;

/*
 * Where the store is by default: /var/lib/erofs-convert for root (privilege_is_full_root()), else
 * $XDG_DATA_HOME/erofs-convert or ~/.local/share/erofs-convert. The caller frees it. NULL when a
 * user has no home.
 */
char *store_default_dir(struct error **err);

/*
 * Open the store in `dir`, made with its parents when it is not there (0700). `limit`: bytes of
 * disk that it may take, 0 for no limit but the disk's. A directory with other things in it, or
 * a store of another version, is an error and stays as it is. So is one that belongs to
 * another user, or that others may write to.
 */
struct store *store_open(const char *dir, uint64_t limit, struct error **err);
/*
 * The same, for a directory that is open: its files are opened through `at` (which stays the
 * caller's and may be a mount of its own), `dir` is its absolute path for everyone else.
 */
struct store *store_open_at(int at, const char *dir, uint64_t limit, struct error **err);
void store_close(struct store *s); /* after its blobs; NULL is allowed */
/* Its absolute path. */
const char *store_dir(const struct store *s);

/*
 * Files and directories of the store may be a daemon's own: others keep away from them. They stay
 * so until they are given back, or until the last copy of store_owner_fd() is closed: whoever has
 * one keeps them for the daemon while its process is replaced by the next, which goes on with all
 * of them. 0, or -1 with errno: EWOULDBLOCK when another daemon has it. On any thread.
 */
int store_own(struct store *s, int fd);
void store_disown(struct store *s, int fd);
bool store_is_others(const struct store *s, int fd);
int store_owner_fd(const struct store *s);
/*
 * Go on with what was the own of a former process, whose store_owner_fd() this is; it is taken over
 * before anything is owned. False: it is of another store, or of one that has been made anew, and
 * was closed.
 */
bool store_go_on_as(struct store *s, int fd);
/* Give back what only the former process has asked for. */
void store_disown_rest(struct store *s);

/* What a blob is, and which of the store's caches it has: each spec one of its own. */
struct store_spec {
	struct digest digest; /* of the blob as stored in the registry: its name */
	struct digest index; /* a name of its chunk index (erofs_index_name()); of a raw blob: its
				own digest */
	uint64_t size; /* of the device, bytes */
	uint32_t n_frames; /* at most 2^26, and `size`; 1 for what comes as a whole */
};

/*
 * Open a blob to fill or to use it: made when it is not there. A cache or map that is damaged, or
 * says more than its file can hold, is set aside and begun anew.
 * Waits while another process fills the blob, until that is done or the blob is complete; an
 * interrupt (lib/base/interrupt.h) ends the waiting with an error. One handle for a spec and
 * process: a second one would wait for the first.
 */
struct store_blob *store_blob_open(
	struct store *s, const struct store_spec *spec, struct error **err);
/*
 * The same for those who may not wait. While another process fills the blob, it is a private copy:
 * an empty cache without a name, which counts for no limit, is never synced, and is gone with the
 * handle.
 */
struct store_blob *store_blob_open_now(
	struct store *s, const struct store_spec *spec, struct error **err);
/*
 * The same for those whose cache must be the one that has the name, for the kernel reads it: while
 * another process fills the blob, both write to the same cache, each frame the same verified bytes;
 * which are there, each knows of its own, and what the map on the disk said at the beginning. A
 * private copy when the other process watches it (store_blob_watch()).
 */
struct store_blob *store_blob_open_shared(
	struct store *s, const struct store_spec *spec, struct error **err);
/*
 * From now on, until the handle is closed (store_own()), whoever reads or writes the cache waits
 * for this process, for it has a mark on the file (fanotify(7)): other processes that open the blob
 * keep away from that file. -1 when another process watches it, or the cache is a private copy.
 */
int store_blob_watch(struct store_blob *b, struct error **err);
/*
 * Syncs what was written, but not after an interrupt, for it takes its time (bits that were not
 * synced are lost, no more), and lets go of the lock. No call on the blob may be under way.
 */
void store_blob_close(struct store_blob *b); /* NULL is allowed */

/*
 * The cache file: open for reading and writing while it is not complete, and its absolute path; of
 * a private copy one that leads there in this process only.
 */
int store_blob_fd(const struct store_blob *b);
const char *store_blob_path(const struct store_blob *b);

/*
 * Is the path still that of the file that is open here? Being in use keeps a blob from eviction,
 * not from being set aside by who finds it damaged. What is set aside never comes back: whoever was
 * told the path, and asks this once the file has been opened by it, knows which file that was.
 */
int store_blob_check_path(const struct store_blob *b, struct error **err);

/*
 * Its cache has been found not to be what it should: it is set aside, so that the next to open it
 * begins anew. Closes the blob.
 */
int store_blob_discard(struct store_blob *b, struct error **err);

/* As its spec says. */
uint32_t store_blob_n_frames(const struct store_blob *b);
uint64_t store_blob_size(const struct store_blob *b);

/* On any thread. */
bool store_blob_has(const struct store_blob *b, uint32_t frame);
/* The first of [from, end) that it has not, or `end`. */
uint32_t store_blob_next_absent(const struct store_blob *b, uint32_t from, uint32_t end);
bool store_blob_is_complete(const struct store_blob *b);
uint32_t store_blob_present(const struct store_blob *b); /* how many frames */

/*
 * Store one frame's verified, uncompressed bytes at their place, then set its bit in memory.
 * Space for them must have been reserved. On any thread; a frame that is there already is
 * written again, but not to a blob that was complete when it was opened: that is an error.
 */
int store_blob_write(struct store_blob *b, uint32_t frame, uint64_t offset, const void *data,
	size_t len, struct error **err);

/*
 * Bring the bits set so far to the disk: fdatasync() of the cache, then the map, then its
 * fdatasync(). On any thread; writers go on meanwhile. Once all are there, the blob is open to
 * everyone. When the cache cannot be synced, what was written since the last sync may be lost:
 * those frames are not there any more, in memory as well.
 */
int store_blob_sync(struct store_blob *b, struct error **err);
/*
 * What was written begins its way to the disk, so that the next store_blob_sync() takes less time;
 * that one tells of what fails. On any thread.
 */
void store_blob_push(struct store_blob *b);
/* Calls that just before such frames are absent, within store_blob_sync(). Before any sync. */
void store_blob_on_loss(struct store_blob *b, void (*lost)(void *arg), void *arg);

/*
 * Make sure that `bytes` more fit under the limit and on the disk, counting what other live
 * processes have reserved, and evict for it what nobody uses, least recently used first.
 * Belongs to the blob: what is written uses it up; completing or closing the blob gives the
 * rest back. No cache comes to more than its device: UINT64_MAX reserves for all that is
 * missing. The error's code is ENOSPC when not enough can be evicted; then nothing is. It
 * looks at every blob of the store: ask for many frames at once. On any thread.
 */
int store_blob_reserve(struct store_blob *b, uint64_t bytes, struct error **err);
/*
 * The same for what nobody needs now. Some of the limit, and of the disk, must be left (reserve.c
 * has how much), for those who call store_blob_reserve(), and for everybody else on the disk.
 */
int store_blob_reserve_spare(struct store_blob *b, uint64_t bytes, struct error **err);

/* What is in the store. */
struct store_entry {
	struct digest digest;
	uint64_t size; /* of the device, bytes */
	uint64_t cached; /* bytes that it takes on disk */
	uint32_t n_frames, present; /* with size all 0: its map is damaged (a warning says how) */
	bool in_use; /* open somewhere: being filled, or mounted */
	struct timespec used; /* last opened, or filled */
};

/* By last use, most recent first. The caller frees it. */
int store_list(struct store *s, struct store_entry **list, size_t *n, struct error **err);

/*
 * Evict what nobody uses until the store takes no more than `keep` bytes (0: all of it), least
 * recently used first; also what was set aside and what killed processes left. How many bytes
 * that freed, and how many blobs were evicted. What is in use is no error.
 */
int store_prune(struct store *s, uint64_t keep, uint64_t *freed, size_t *n, struct error **err);

/*
 * Has somebody else this file open: any process, or the kernel for a mount, in whichever namespace?
 * False when it is not there; true when it cannot be known, on a filesystem without leases
 * (fcntl(2)).
 */
bool store_file_in_use(int dir, const char *name);

static inline void cleanup_store_(struct store **s)
{
	store_close(*s);
}
#define CLEANUP_STORE CLEANUP(cleanup_store_)

static inline void cleanup_store_blob_(struct store_blob **b)
{
	store_blob_close(*b);
}
#define CLEANUP_STORE_BLOB CLEANUP(cleanup_store_blob_)

#endif
