// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/holder/presence.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/serve/holder/shared_table.h"

_Static_assert(offsetof(struct presence, magic) == 0, "as of all shared tables");
_Static_assert(
	(PRESENCE_SETS & (PRESENCE_SETS - 1)) == 0 && (PRESENCE_NOTES & (PRESENCE_NOTES - 1)) == 0,
	"indexed by masks, the notes modulo 2^32");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
	"a lock would be in one process's memory");

/* ---- the memory ---- */

struct presence *presence_map(int fd)
{
	return shared_table_map(fd, sizeof(struct presence), PRESENCE_MAGIC);
}

/* Zeros are entries that are not in use. */
int presence_create(void)
{
	return shared_table_create(
		"erofs-convert-presence", sizeof(struct presence), PRESENCE_MAGIC);
}

/* ---- files ---- */

int presence_identify(int fd, struct presence_id *id, uint64_t *size)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_SIZE | STATX_BTIME, &st) < 0)
		return -1;
	*id = (struct presence_id){ .dev = makedev(st.stx_dev_major, st.stx_dev_minor),
		.ino = st.stx_ino };
	if (st.stx_mask & STATX_BTIME)
		id->born = (uint64_t)st.stx_btime.tv_sec * 1000000000 + st.stx_btime.tv_nsec;
	*size = st.stx_size;
	return 0;
}

static uint32_t set_of(uint64_t dev, uint64_t ino)
{
	uint64_t hash = (ino ^ dev << 32 ^ dev >> 32) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(hash >> 40) & (PRESENCE_SETS - 1);
}

uint32_t presence_words(uint64_t size)
{
	const uint64_t bytes = 64 * (uint64_t)PRESENCE_GRANULE; /* of a word */
	uint64_t n = size / bytes + (size % bytes != 0);

	return n > PRESENCE_WORDS ? PRESENCE_WORDS + 1 : (uint32_t)n;
}

static bool fits(uint32_t first, uint64_t size)
{
	uint32_t n = presence_words(size);

	return n <= PRESENCE_WORDS && first <= PRESENCE_WORDS - n;
}

bool presence_is_valid(const struct presence *p, uint32_t slot)
{
	const struct presence_file *f = &p->files[slot];

	return atomic_load(&f->generation) % 2 == 1 && atomic_load(&f->born) &&
	       fits(atomic_load(&f->first), atomic_load(&f->size)) &&
	       set_of(atomic_load(&f->dev), atomic_load(&f->ino)) == slot / PRESENCE_WAYS;
}

static bool is_file(const struct presence_file *f, const struct presence_id *id)
{
	return atomic_load_explicit(&f->ino, memory_order_relaxed) == id->ino &&
	       atomic_load_explicit(&f->dev, memory_order_relaxed) == id->dev &&
	       atomic_load_explicit(&f->born, memory_order_relaxed) == id->born;
}

/* ---- the holder's look ---- */

/* All bits from the first to the last, which lie in the words. */
static bool all_set(const _Atomic uint64_t *words, uint64_t first, uint64_t last)
{
	for (uint64_t i = first / 64; i <= last / 64; i++) {
		uint64_t wanted = UINT64_MAX;

		if (i == first / 64)
			wanted &= UINT64_MAX << first % 64;
		if (i == last / 64)
			wanted &= UINT64_MAX >> (63 - last % 64);
		if (~atomic_load_explicit(&words[i], memory_order_acquire) & wanted)
			return false;
	}
	return true;
}

static bool has(
	const struct presence *p, const struct presence_file *f, uint64_t offset, uint64_t len)
{
	uint64_t size = atomic_load_explicit(&f->size, memory_order_relaxed);
	uint32_t first = atomic_load_explicit(&f->first, memory_order_relaxed);

	if (!fits(first, size) || offset >= size || !len)
		return false;
	if (len > size - offset)
		len = size - offset;
	return all_set(
		p->words + first, offset / PRESENCE_GRANULE, (offset + len - 1) / PRESENCE_GRANULE);
}

/* An entry that changes meanwhile may be another file's, and its words, too. */
int presence_look(
	const struct presence *p, const struct presence_id *id, uint64_t offset, uint64_t len)
{
	uint32_t slot = set_of(id->dev, id->ino) * PRESENCE_WAYS;

	for (uint32_t end = slot + PRESENCE_WAYS; slot < end; slot++) {
		const struct presence_file *f = &p->files[slot];
		uint32_t generation = atomic_load_explicit(&f->generation, memory_order_acquire);

		if (generation % 2 == 0 || !is_file(f, id))
			continue;
		if (!id->born || !has(p, f, offset, len))
			return -1;
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&f->generation, memory_order_relaxed) != generation)
			return -1;
		return (int)slot;
	}
	return -1;
}

/* ---- the worker's writing ---- */

void presence_clear(struct presence *p, uint32_t slot)
{
	const struct presence_file *f = &p->files[slot];
	uint64_t size = atomic_load(&f->size);
	uint32_t first = atomic_load(&f->first);

	if (!fits(first, size))
		return;
	for (uint32_t i = 0; i < presence_words(size); i++)
		atomic_store(&p->words[first + i], 0);
}

void presence_set(struct presence *p, uint32_t slot, uint64_t granule, bool is_there)
{
	const struct presence_file *f = &p->files[slot];
	uint64_t bit = UINT64_C(1) << granule % 64, size = atomic_load(&f->size);
	uint32_t first = atomic_load(&f->first);
	_Atomic uint64_t *word;

	if (!fits(first, size) || granule / 64 >= presence_words(size))
		return;
	word = &p->words[first + granule / 64];
	if (is_there)
		atomic_fetch_or(word, bit);
	else
		atomic_fetch_and(word, ~bit);
}

static int find_place(const struct presence *p, const struct presence_id *id)
{
	uint32_t slot = set_of(id->dev, id->ino) * PRESENCE_WAYS;

	for (uint32_t end = slot + PRESENCE_WAYS; slot < end; slot++)
		if (atomic_load(&p->files[slot].generation) % 2 == 0)
			return (int)slot;
	return -1;
}

int presence_add(struct presence *p, const struct presence_id *id, uint64_t size, uint32_t first)
{
	int slot = id->born && fits(first, size) ? find_place(p, id) : -1;
	struct presence_file *f = &p->files[slot < 0 ? 0 : slot];

	if (slot < 0)
		return -1;
	atomic_store(&f->dev, id->dev);
	atomic_store(&f->ino, id->ino);
	atomic_store(&f->born, id->born);
	atomic_store(&f->size, size);
	atomic_store(&f->first, first);
	presence_clear(p, (uint32_t)slot);
	atomic_fetch_add(&f->generation, 1);
	return slot;
}

/* The bits go later than the entry: they are others' only when it is nobody's. */
void presence_remove(struct presence *p, uint32_t slot)
{
	struct presence_file *f = &p->files[slot];

	if (atomic_load(&f->generation) % 2 == 0)
		return;
	atomic_fetch_add(&f->generation, 1);
	presence_clear(p, slot);
}
