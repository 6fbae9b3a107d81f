// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Reads that need nobody: their bytes are there, as the worker has said (presence.h). The worker
 * hears of where files are read, for its reading ahead, but nobody waits until it does.
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/serve/holder/holder.h"

#define PAUSE UINT64_C(5000000) /* nanoseconds between two times that it is woken for notes */

void hits_forget(struct holder *h)
{
	if (h->presence)
		munmap(h->presence, sizeof(*h->presence));
	h->presence = NULL;
}

/* A table of another layout is kept for who knows it, and not looked at. */
void hits_know(struct holder *h, int fd)
{
	hits_forget(h);
	h->presence = presence_map(fd);
	memset(h->noted, 0, sizeof(h->noted));
	if (!h->presence)
		holder_say("all reads go to the worker: its table of what is there cannot be used");
}

/*
 * A worker of a version that knows nothing of the table does not keep it as it should be. While one
 * starts, it is as its predecessor has left it.
 */
static bool is_kept(const struct holder *h)
{
	return h->presence && (!h->ready || atomic_load(&h->presence->owner) ==
						    atomic_load(&h->requests->worker_pid));
}

/* Each step of a file once, as long as no more than a few readers are elsewhere in it. */
static void note_one(struct holder *h, uint32_t slot, uint32_t step)
{
	struct presence *p = h->presence;
	struct noted *n = &h->noted[slot];
	uint32_t head = atomic_load(&p->head);

	for (unsigned i = 0; i < HOLDER_NOTED; i++)
		if (n->steps[i] == step + 1)
			return;
	n->steps[n->next] = step + 1; /* 0: none */
	n->next = (n->next + 1) % HOLDER_NOTED;
	atomic_store(&p->notes[head % PRESENCE_NOTES], (uint64_t)slot << 32 | step);
	atomic_store(&p->head, head + 1);
	h->notes_wait = true;
}

/* What it reads is bounded by the kernel, some steps at most. */
static void note(struct holder *h, uint32_t slot, uint64_t offset, uint64_t len)
{
	uint64_t first = offset / PRESENCE_STEP, last = (offset + len - 1) / PRESENCE_STEP;

	if (last < first || last - first >= HOLDER_NOTED || last >= UINT32_MAX)
		return;
	for (uint64_t i = first; i <= last; i++)
		note_one(h, slot, (uint32_t)i);
}

bool hits_answer(
	struct holder *h, int number, const struct presence_id *id, uint64_t offset, uint64_t len)
{
	int slot = is_kept(h) ? presence_look(h->presence, id, offset, len) : -1;

	/* ENOENT: the reader has been killed */
	if (slot < 0 || (answer_allow(h->group, number) < 0 && errno != ENOENT))
		return false;
	atomic_fetch_add(&h->presence->files[slot].hits, 1);
	atomic_fetch_add(&h->requests->answered, 1);
	note(h, (uint32_t)slot, offset, len);
	return true;
}

uint64_t hits_tell(struct holder *h, uint64_t now)
{
	if (!h->notes_wait)
		return UINT64_MAX;
	if (now - h->notes_told < PAUSE)
		return h->notes_told + PAUSE - now;
	h->notes_wait = false;
	h->notes_told = now;
	held_wake_worker(h);
	return UINT64_MAX;
}
