// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Room before the writing. A filler notes in its map what its cache may grow to on the disk, which
 * is what it takes now and what is reserved and not yet written. So a write changes nothing in
 * the sum of all, and the note is worth nothing once its filler is dead: its lock is gone with it.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fmt/le.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/store/blob.h"
#include "lib/store/evict.h"
#include "lib/store/lock.h"

#define MIB (UINT64_C(1) << 20)

/*
 * What stays free where somebody takes room who can do without: a part of all there is, within
 * bounds. On a disk it is for everybody else there, too; of a limit it is for readers alone.
 */
static const struct kept {
	uint64_t part; /* one of so many, ... */
	uint64_t least, most; /* ... bytes; and where there is little, a quarter at most */
} kept_of_disk = { 20, 256 * MIB, 4096 * MIB }, kept_of_limit = { 10, 32 * MIB, 4096 * MIB };

enum { KEPT_TEXT_MAX = TEXT_NUMBER_MAX + 32 };

/* The store's bytes on the disk. */
struct usage {
	uint64_t taken, aside; /* now */
	uint64_t promised; /* to come, beside `wanted` */
	uint64_t wanted; /* now asked for */
	uint64_t claim; /* what the blob's own cache comes to, with that */
	uint64_t free; /* on the disk */
	uint64_t disk_keeps, limit_keeps; /* what shall be left */
};

static uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t excess(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/*
 * What a cache that takes `now` bytes will come to. Never more than the device: frames that a
 * killed process wrote, without their bits, have their space already.
 */
static uint64_t grown(const struct store_blob *b, uint64_t now, uint64_t bytes)
{
	uint64_t most = (b->map.size + 4095) / 4096 * 4096, sum = add(now, bytes);

	most = most > now ? most : now;
	return sum < most ? sum : most;
}

static uint64_t outstanding(const struct store_blob *b)
{
	return excess(b->reserved, atomic_load(&b->written));
}

static uint64_t kept(const struct kept *k, uint64_t all)
{
	uint64_t bytes = all / k->part;

	bytes = bytes > k->least ? bytes : k->least;
	bytes = bytes < k->most ? bytes : k->most;
	return bytes < all / 4 ? bytes : all / 4;
}

static int measure_own(struct usage *u, const struct store_blob *b, uint64_t bytes)
{
	uint64_t now, before;
	struct stat st;

	if (fstat(b->cache_fd, &st) < 0)
		return -1;
	now = store_disk_bytes(&st);
	before = grown(b, now, outstanding(b));
	u->claim = grown(b, now, add(outstanding(b), bytes));
	u->promised = before - now;
	u->wanted = u->claim - before;
	return 0;
}

static int measure_disk(
	struct usage *u, const struct store_blob *b, uint64_t bytes, bool spare, struct error **err)
{
	const struct store *s = b->store;
	struct statvfs vfs;

	if (measure_own(u, b, bytes) < 0 || fstatvfs(s->blobs_fd, &vfs) < 0)
		return error_set(err, errno, "cannot see how much space %s has", s->dir);
	u->free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	u->disk_keeps = spare ? kept(&kept_of_disk, (uint64_t)vfs.f_blocks * vfs.f_frsize) : 0;
	u->limit_keeps = spare ? kept(&kept_of_limit, s->limit) : 0;
	return 0;
}

static void measure_all(struct usage *u, const struct store_blob *b, const struct holdings *h)
{
	u->aside = store_aside_bytes(b->store);
	for (size_t i = 0; i < h->n; i++) {
		u->taken = add(u->taken, h->of[i].taken);
		if (strcmp(h->of[i].stem, b->stem) != 0)
			u->promised = add(u->promised, excess(h->of[i].claim, h->of[i].taken));
	}
}

/*
 * Looking at all blobs takes long where there are a thousand. So the lock's file says what was
 * promised at most: what the last look has found, and what was reserved since. What is written, and
 * who dies, make that less, which only the next look finds. While the disk has room for so much,
 * nobody needs to look. The number is there twice, once inverted: else it is none.
 */
static bool promised_at_most(const struct store *s, uint64_t *sum)
{
	uint8_t bytes[16];

	if (pread(s->lock_fd, bytes, sizeof(bytes), 0) != sizeof(bytes))
		return false;
	*sum = get_le64(bytes);
	return get_le64(bytes + 8) == ~*sum;
}

static void note_promised(const struct store *s, uint64_t sum)
{
	uint8_t bytes[16];

	put_le64(bytes, sum);
	put_le64(bytes + 8, ~sum);
	if (pwrite(s->lock_fd, bytes, sizeof(bytes), 0) != sizeof(bytes) &&
		ftruncate(s->lock_fd, 0) < 0)
		log_warn("cannot write to %s/lock: %s", s->dir, strerror(errno));
}

static bool fits_surely(const struct store *s, struct usage *u)
{
	return !s->limit && promised_at_most(s, &u->promised) &&
	       add(add(u->promised, u->wanted), u->disk_keeps) <= u->free;
}

/* Who must leave some is told how much: else it looks as if there were room. */
static const char *tell_kept(uint64_t bytes, char text[static KEPT_TEXT_MAX])
{
	char number[TEXT_NUMBER_MAX];

	text[0] = '\0';
	if (bytes)
		snprintf(text, KEPT_TEXT_MAX, ", and %s stay free", text_bytes(bytes, number));
	return text;
}

static int no_room(
	const struct store *s, const struct usage *u, uint64_t evictable, struct error **err)
{
	char want[TEXT_NUMBER_MAX], have[TEXT_NUMBER_MAX], used[TEXT_NUMBER_MAX];
	char keeps[KEPT_TEXT_MAX];
	uint64_t stays = add(excess(u->taken, evictable), u->promised);

	text_bytes(u->wanted, want);
	if (s->limit && add(add(stays, u->wanted), u->limit_keeps) > s->limit)
		error_set(err, ENOSPC, "no room for %s in the store %s: of its %s, %s are in use%s",
			want, s->dir, text_bytes(s->limit, have), text_bytes(stays, used),
			tell_kept(u->limit_keeps, keeps));
	else
		error_set(err, ENOSPC,
			"no room for %s in the store %s: its disk has %s free, %s are promised%s",
			want, s->dir, text_bytes(u->free, have), text_bytes(u->promised, used),
			tell_kept(u->disk_keeps, keeps));
	return error_hint(err,
		"unmount what is not needed and `erofs-convert store prune`, or --store on a "
		"larger disk");
}

/* Both bounds count the same bytes: what is evicted helps with the one as with the other. */
static int make_room(const struct store_blob *b, struct usage *u, struct error **err)
{
	CLEANUP_HOLDINGS struct holdings h = { 0 };
	struct store *s = b->store;
	uint64_t need, gain, total;

	if (holdings_read(&h, s, err) < 0)
		return -1;
	measure_all(u, b, &h);
	total = add(add(add(u->taken, u->aside), u->promised), u->wanted);
	need = excess(add(add(u->promised, u->wanted), u->disk_keeps), u->free);
	total = add(total, u->limit_keeps);
	if (s->limit && excess(total, s->limit) > need)
		need = excess(total, s->limit);
	if (!need || !u->wanted)
		return 0;
	gain = evict_choose(s, &h, b->stem, excess(need, u->aside));
	if (add(gain, u->aside) < need)
		return no_room(s, u, gain, err);
	store_aside_remove(s);
	return evict_chosen(s, &h, err);
}

static int reserve(struct store_blob *b, uint64_t bytes, bool spare, struct error **err)
{
	CLEANUP_STORE_LOCK struct store *locked = store_lock(b->store, err);
	struct usage own = { 0 }, u;

	if (!locked || measure_disk(&own, b, bytes, spare, err) < 0)
		return -1;
	u = own;
	if (!fits_surely(b->store, &u)) {
		u = own;
		if (make_room(b, &u, err) < 0)
			return -1;
	}
	note_promised(b->store, add(u.promised, u.wanted));
	if (map_write_claim(b->map_fd, u.claim) < 0)
		return error_set(err, errno, "cannot write the map of %s", b->path);
	b->reserved = add(b->reserved, bytes);
	return 0;
}

static int reserve_locking(struct store_blob *b, uint64_t bytes, bool spare, struct error **err)
{
	int rc = 0;

	if (!b->bits) /* complete since it was opened */
		return 0;
	pthread_mutex_lock(&b->fill_lock);
	if (b->filling)
		rc = reserve(b, bytes, spare, err);
	pthread_mutex_unlock(&b->fill_lock);
	return rc;
}

int store_blob_reserve(struct store_blob *b, uint64_t bytes, struct error **err)
{
	return reserve_locking(b, bytes, false, err);
}

int store_blob_reserve_spare(struct store_blob *b, uint64_t bytes, struct error **err)
{
	return reserve_locking(b, bytes, true, err);
}
