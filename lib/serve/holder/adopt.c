// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What a former holder left unanswered. Its descriptors are gone, but the kernel knows the events
 * by their numbers still.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/serve/holder/event.h"
#include "lib/serve/holder/holder.h"

static bool is_number(int number)
{
	return number >= EVENT_NUMBER_MIN && number < EVENT_NUMBER_MAX;
}

/* The first that has the number. */
static bool is_first(int number, unsigned char *seen)
{
	if (!is_number(number) || seen[number])
		return false;
	seen[number] = true;
	return true;
}

static bool is_live(uint32_t state)
{
	return state == REQUEST_PENDING || state == REQUEST_TAKEN || state == REQUEST_ANSWERING;
}

/* --- what it had read, and not noted ------------------------------------------------------ */

/* One that expired had let go of its number. */
static bool is_noted(const struct requests *r, int number)
{
	for (uint32_t i = 0; i < REQUESTS_MAX; i++)
		if (is_live(atomic_load(&r->slots[i].state)) && r->slots[i].fd == number)
			return true;
	return false;
}

static struct held_request *find_free(struct requests *r)
{
	for (uint32_t i = 0; i < REQUESTS_MAX; i++) {
		uint32_t state = atomic_load(&r->slots[i].state);

		if (state == REQUEST_FREE || state == REQUEST_ANSWERED)
			return &r->slots[i];
	}
	return NULL;
}

/* Without a range it is left to be denied. */
static void note(struct holder *h, const struct event *e, uint64_t now)
{
	struct held_request *q = find_free(h->requests);

	if (!q || !e->waits || !e->has_range || !is_number(e->fd) || is_noted(h->requests, e->fd))
		return;
	q->fd = e->fd;
	q->dev = q->ino = 0;
	q->offset = e->offset;
	q->len = e->len;
	q->deadline = now + h->deadline;
	q->pid = e->pid;
	atomic_store(&q->state, REQUEST_PENDING);
	atomic_fetch_add(&h->requests->read, 1);
	holder_say("a read by process %d is done for each file that it can be of", e->pid);
}

/* A copy, for who reads on behind an event whose size may change. */
static void note_coming(struct holder *h, uint64_t now)
{
	union coming coming = { .size = 0 };
	struct event e;
	size_t at = 0;

	memcpy(&coming, &h->requests->coming, sizeof(coming));
	while (h->group >= 0 && event_next(coming.bytes, sizeof(coming.bytes), &at, &e) > 0)
		note(h, &e, now);
	atomic_store(&h->requests->coming.size, 0);
}

/* --- what it had noted -------------------------------------------------------------------- */

/* No new event may get the number, so something else has it until the answer. */
static int hold_place(struct holder *h, int number)
{
	if (number >= h->base)
		return -1; /* no event of ours comes so high */
	if (dup3(h->null, number, O_CLOEXEC) < 0)
		holder_say("cannot hold descriptor %d: %s", number, strerror(errno));
	return number;
}

static void adopt_one(struct holder *h, uint32_t slot, unsigned char *seen, uint64_t now)
{
	struct held_request *q = &h->requests->slots[slot];
	uint32_t state = atomic_load(&q->state);

	if (state == REQUEST_EXPIRED)
		return;
	if (!is_live(state) || !is_first(q->fd, seen)) {
		atomic_store(&q->state, REQUEST_FREE);
		held_put_free(h, slot);
		return;
	}
	held_use(h, slot, hold_place(h, q->fd));
	if (q->deadline > now + h->deadline)
		q->deadline = now + h->deadline;
	if (state == REQUEST_PENDING)
		held_announce(h, slot);
}

/* Perhaps before it was denied, and perhaps the worker has it. After all others: one of them may
 * have got its number. */
static void adopt_expired(struct holder *h, uint32_t slot, unsigned char *seen, uint64_t now)
{
	struct held_request *q = &h->requests->slots[slot];

	if (atomic_load(&q->state) != REQUEST_EXPIRED)
		return;
	if (is_first(q->fd, seen) && h->group >= 0)
		answer_deny(h->group, q->fd, EIO);
	held_use(h, slot, -1);
	h->held[slot].patience = now + HELD_PATIENCE * h->deadline;
}

void held_adopt(struct holder *h)
{
	unsigned char seen[EVENT_NUMBER_MAX] = { 0 };
	uint64_t now = holder_now();
	unsigned n = 0;

	note_coming(h, now);
	if (h->group >= 0)
		n = keep_deny_unknown(h->group, h->requests);
	if (n)
		holder_say("%u reads that nobody had noted have to be repeated", n);
	for (uint32_t i = 0; i < REQUESTS_MAX; i++) {
		if (h->group < 0) /* whose requests were they? */
			atomic_store(&h->requests->slots[i].state, REQUEST_FREE);
		adopt_one(h, i, seen, now);
	}
	for (uint32_t i = 0; i < REQUESTS_MAX; i++)
		adopt_expired(h, i, seen, now);
	held_wake_worker(h);
}
