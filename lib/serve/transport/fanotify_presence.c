// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/transport/fanotify_presence.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/holder/presence.h"

enum { LOOKS = 1024 }; /* of one go, at granules: a fraction of a millisecond */

/* Words that an entry has. */
struct extent {
	uint32_t first, n;
	uint32_t slot;
	bool ours; /* not a former worker's */
};

struct fanotify_presence {
	struct presence *shared;
	pthread_mutex_t lock; /* for the entries, not for their bits */
	struct extent extents[PRESENCE_FILES]; /* in order */
	size_t n;
	uint64_t sizes[PRESENCE_FILES]; /* bytes, of those that are ours */
	uint32_t tail; /* what of the notes was read */
};

/* ---- words ---- */

/* The first gap that is wide enough: *at is where it is among the extents. */
static bool find_gap(const struct fanotify_presence *p, uint32_t need, uint32_t *first, size_t *at)
{
	uint32_t end = 0;

	for (*at = 0; *at < p->n && p->extents[*at].first - end < need; ++*at)
		end = p->extents[*at].first + p->extents[*at].n;
	*first = end;
	return PRESENCE_WORDS - end >= need;
}

static void insert(struct fanotify_presence *p, size_t at, struct extent e)
{
	memmove(&p->extents[at + 1], &p->extents[at], (p->n - at) * sizeof(*p->extents));
	p->extents[at] = e;
	p->n++;
}

static void drop(struct fanotify_presence *p, size_t at)
{
	presence_remove(p->shared, p->extents[at].slot);
	p->n--;
	memmove(&p->extents[at], &p->extents[at + 1], (p->n - at) * sizeof(*p->extents));
}

/* ---- what a former worker has left ---- */

static int by_place(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

static void take_over_entry(struct fanotify_presence *p, uint32_t slot)
{
	const struct presence_file *f = &p->shared->files[slot];

	if (presence_is_valid(p->shared, slot))
		p->extents[p->n++] = (struct extent){
			.first = f->first, .n = presence_words(f->size), .slot = slot
		};
	else
		presence_remove(p->shared, slot);
}

/* Entries that share words are none. */
static void take_over(struct fanotify_presence *p)
{
	uint32_t end = 0;

	for (uint32_t slot = 0; slot < PRESENCE_FILES; slot++)
		take_over_entry(p, slot);
	qsort(p->extents, p->n, sizeof(*p->extents), by_place);
	for (size_t i = 0; i < p->n;) {
		if (p->extents[i].first < end) {
			drop(p, i);
			continue;
		}
		end = p->extents[i].first + p->extents[i].n;
		i++;
	}
	p->tail = atomic_load(&p->shared->head);
	atomic_store(&p->shared->owner, (uint32_t)getpid());
}

static struct presence *open_kept(struct keep *keep)
{
	CLEANUP_FD int fd = keep_find(keep, KEEP_PRESENCE);
	struct presence *shared = fd < 0 ? NULL : presence_map(fd);

	if (fd >= 0 && !shared)
		log_debug("fanotify: a table of another layout is replaced");
	return shared;
}

static struct presence *open_new(struct keep *keep, struct error **err)
{
	CLEANUP_FD int fd = presence_create();
	struct presence *shared = fd < 0 ? NULL : presence_map(fd);

	if (!shared) {
		error_set(err, errno, "cannot make the table of what is there");
		return NULL;
	}
	if (keep_put(keep, KEEP_PRESENCE, fd, err) == 0)
		return shared;
	munmap(shared, sizeof(*shared));
	return NULL;
}

struct fanotify_presence *fanotify_presence_open(struct keep *keep, struct error **err)
{
	struct presence *shared = open_kept(keep);
	struct fanotify_presence *p;

	if (!shared)
		shared = open_new(keep, err);
	if (!shared)
		return NULL;
	p = xzalloc(sizeof(*p));
	p->shared = shared;
	pthread_mutex_init(&p->lock, NULL);
	take_over(p);
	return p;
}

void fanotify_presence_close(struct fanotify_presence *p)
{
	if (!p)
		return;
	munmap(p->shared, sizeof(*p->shared));
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* ---- entries ---- */

static void drop_file(struct fanotify_presence *p, const struct presence_id *id)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct presence_file *f = &p->shared->files[p->extents[i].slot];

		if (f->dev == id->dev && f->ino == id->ino) {
			drop(p, i);
			return;
		}
	}
}

static int add_locked(struct fanotify_presence *p, const struct presence_id *id, uint64_t size)
{
	uint32_t n = presence_words(size), first;
	size_t at;
	int slot;

	drop_file(p, id);
	if (!find_gap(p, n, &first, &at))
		return -1;
	slot = presence_add(p->shared, id, size, first);
	if (slot < 0)
		return -1;
	p->sizes[slot] = size;
	insert(p, at, (struct extent){ first, n, (uint32_t)slot, true });
	return slot;
}

int fanotify_presence_add(struct fanotify_presence *p, int fd)
{
	struct presence_id id;
	uint64_t size;
	int slot;

	if (presence_identify(fd, &id, &size) < 0)
		return -1;
	pthread_mutex_lock(&p->lock);
	slot = add_locked(p, &id, size);
	pthread_mutex_unlock(&p->lock);
	if (slot < 0)
		log_debug("fanotify: the holder has no room to know what is there of a file");
	return slot;
}

void fanotify_presence_remove(struct fanotify_presence *p, int slot)
{
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n; i++)
		if (p->extents[i].slot == (uint32_t)slot) {
			drop(p, i);
			break;
		}
	pthread_mutex_unlock(&p->lock);
}

void fanotify_presence_remove_others(struct fanotify_presence *p)
{
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n;)
		if (p->extents[i].ours)
			i++;
		else
			drop(p, i);
	pthread_mutex_unlock(&p->lock);
}

/* ---- bits ---- */

void fanotify_presence_update(
	struct fanotify_presence *p, int slot, struct served_blob *b, uint64_t offset, uint64_t len)
{
	uint64_t size = p->sizes[slot];

	if (offset >= size || !len)
		return;
	if (len > size - offset)
		len = size - offset;
	for (uint64_t i = offset / PRESENCE_GRANULE; i <= (offset + len - 1) / PRESENCE_GRANULE;
		i++)
		presence_set(p->shared, (uint32_t)slot, i,
			served_blob_has(b, i * PRESENCE_GRANULE, PRESENCE_GRANULE));
}

uint64_t fanotify_presence_look_on(
	struct fanotify_presence *p, int slot, struct served_blob *b, uint64_t at)
{
	const uint64_t step = LOOKS * (uint64_t)PRESENCE_GRANULE;

	fanotify_presence_update(p, slot, b, at, step);
	return at < p->sizes[slot] && p->sizes[slot] - at > step ? at + step : UINT64_MAX;
}

void fanotify_presence_clear(struct fanotify_presence *p, int slot)
{
	presence_clear(p->shared, (uint32_t)slot);
}

const _Atomic uint64_t *fanotify_presence_hits(const struct fanotify_presence *p, int slot)
{
	return &p->shared->files[slot].hits;
}

/* ---- notes ---- */

bool fanotify_presence_next_note(
	struct fanotify_presence *p, int *slot, uint64_t *offset, uint64_t *len)
{
	uint32_t head = atomic_load(&p->shared->head);
	uint64_t note;

	if (head == p->tail)
		return false;
	if (head - p->tail > PRESENCE_NOTES) /* some were overwritten */
		p->tail = head - PRESENCE_NOTES;
	note = atomic_load(&p->shared->notes[p->tail++ % PRESENCE_NOTES]);
	*slot = (int)((note >> 32) % PRESENCE_FILES);
	*offset = (note & UINT32_MAX) * PRESENCE_STEP;
	*len = PRESENCE_STEP;
	return true;
}
