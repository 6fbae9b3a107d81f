// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The requests: read, noted, closed once answered, denied at the deadline.
 *
 * A slot that expires while a worker's thread has it is not used again until that thread has let
 * go of it (it finds EXPIRED and says ANSWERED), or the worker is dead, or long enough has passed:
 * else the thread could take the next request in that slot for its own, and allow a read whose
 * bytes are not there.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/serve/holder/event.h"
#include "lib/serve/holder/holder.h"

#define BATCH	  16 /* reads until those that came are answered */
#define BATCH_MAX (2 * BATCH) /* events: without a range they are half as long */

static bool move(struct held_request *q, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(&q->state, &from, to);
}

void held_use(struct holder *h, uint32_t slot, int fd)
{
	h->held[slot] = (struct held){ .fd = fd };
	h->used[h->n_used++] = slot;
}

void held_put_free(struct holder *h, uint32_t slot)
{
	h->free[(h->free_at + h->n_free++) % REQUESTS_MAX] = slot;
}

static uint32_t take_free(struct holder *h)
{
	uint32_t slot = h->free[h->free_at];

	h->free_at = (h->free_at + 1) % REQUESTS_MAX;
	h->n_free--;
	return slot;
}

/* The state first: once the number is closed, an event can have it, which the worker's late
 * answer must not meet. */
static void release(struct holder *h, uint32_t slot)
{
	atomic_store(&h->requests->slots[slot].state, REQUEST_FREE);
	if (h->held[slot].fd >= 0)
		close(h->held[slot].fd);
	h->held[slot].fd = -1;
	held_put_free(h, slot);
}

void held_announce(struct holder *h, uint32_t slot)
{
	struct requests *r = h->requests;
	uint32_t head = atomic_load(&r->head);

	atomic_store(&r->ring[head % REQUESTS_MAX], slot);
	atomic_store(&r->head, head + 1);
}

void held_wake_worker(const struct holder *h)
{
	static const uint64_t one = 1;

	if (write(h->wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
		holder_say("cannot wake the worker: %s", strerror(errno));
}

/* --- new ones ------------------------------------------------------------------------- */

bool held_may_read(const struct holder *h)
{
	return h->group >= 0 && h->n_free >= BATCH_MAX && h->n_used + BATCH_MAX <= h->held_max;
}

static void deny_at_once(struct holder *h, const struct event *e, const char *why)
{
	holder_say("a read by process %d is denied: %s", e->pid, why);
	if (answer_deny(h->group, e->fd, EIO) < 0)
		holder_say("cannot deny it: %s", strerror(errno));
	atomic_fetch_add(&h->requests->denied, 1);
	close(e->fd);
}

/* An event that has a slot, and is neither answered nor the worker's yet. */
struct fresh {
	uint32_t slot;
	int number;
	struct presence_id id;
	uint64_t offset, len;
};

/* If we die now, it is found with its file. */
static void note(struct holder *h, const struct event *e, const struct fresh *f)
{
	struct held_request *q = &h->requests->slots[f->slot];

	q->fd = e->fd;
	q->dev = f->id.dev;
	q->ino = f->id.ino;
	q->offset = f->offset;
	q->len = f->len;
	q->deadline = holder_now() + h->deadline;
	q->pid = e->pid;
	atomic_store(&q->state, REQUEST_PENDING);
	atomic_fetch_add(&h->requests->read, 1);
}

static bool take(struct holder *h, const struct event *e, struct fresh *f)
{
	uint64_t size;

	if (presence_identify(e->fd, &f->id, &size) < 0) {
		deny_at_once(h, e, strerror(errno));
		return false;
	}
	if (e->fd < EVENT_NUMBER_MIN || e->fd >= h->base) {
		deny_at_once(h, e, "its number is out of range");
		return false;
	}
	f->slot = take_free(h);
	f->number = e->fd;
	f->offset = e->has_range ? e->offset : 0;
	f->len = e->has_range ? e->len : size;
	note(h, e, f);
	return true;
}

/*
 * A hit is answered here, which no worker has to know: one that looks at all slots may take it
 * nevertheless, answers nobody then, and lets go of it as of others. True: it is the worker's.
 */
static bool settle(struct holder *h, const struct fresh *f)
{
	bool hit = hits_answer(h, f->number, &f->id, f->offset, f->len);

	if (hit && move(&h->requests->slots[f->slot], REQUEST_PENDING, REQUEST_FREE)) {
		h->held[f->slot].fd = f->number;
		release(h, f->slot);
		return false;
	}
	held_use(h, f->slot, f->number);
	held_announce(h, f->slot);
	return true;
}

static void settle_all(struct holder *h, const struct fresh *f, unsigned n)
{
	bool news = false;

	for (unsigned i = 0; i < n; i++)
		news |= settle(h, &f[i]);
	if (news)
		held_wake_worker(h);
}

static void take_all(
	struct holder *h, const char *bytes, size_t size, struct fresh *fresh, unsigned *n)
{
	struct event e;
	size_t at = 0;
	int rc = 0;

	while (*n < BATCH_MAX && (rc = event_next(bytes, size, &at, &e)) > 0) {
		if (e.fd < 0)
			continue;
		if (e.waits)
			*n += take(h, &e, &fresh[*n]);
		else
			close(e.fd);
	}
	if (rc < 0) {
		holder_say("the group \"" KEEP_FANOTIFY "\" gives no events that are understood");
		h->group = -1;
	}
}

/*
 * One event at a time, into memory that is there after us: if we die, its number and range are
 * found there, until they are found in its slot.
 */
static bool read_one(struct holder *h, struct fresh *fresh, unsigned *n)
{
	union coming *coming = &h->requests->coming, ours = { .size = 0 };
	ssize_t size;

	memset(coming, 0, sizeof(*coming));
	size = read(h->group, coming->bytes, sizeof(coming->bytes));
	if (size > 0) {
		memcpy(&ours, coming, sizeof(ours));
		take_all(h, ours.bytes, (size_t)size, fresh, n);
		atomic_store(&coming->size, 0);
		return h->group >= 0;
	}
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	/* an event whose file cannot be opened is denied by the kernel: the next one may do */
	holder_say("cannot read events: %s", size ? strerror(errno) : "end of file");
	if (size == 0 || errno == EINVAL || errno == EBADF)
		h->group = -1;
	return false;
}

void held_read(struct holder *h)
{
	struct fresh fresh[BATCH_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < BATCH && read_one(h, fresh, &n);)
		i++;
	settle_all(h, fresh, n);
}

/* --- the end of a request ------------------------------------------------------------- */

static void deny(struct holder *h, const struct held_request *q, uint32_t slot)
{
	/* our own note of the number, where there is one: theirs could be anything */
	int number = h->held[slot].fd >= 0 ? h->held[slot].fd : q->fd;

	if (answer_deny(h->group, number, EIO) < 0 && errno != ENOENT)
		holder_say("cannot deny a read: %s", strerror(errno));
}

/* True: its slot is free again. */
static bool expire(struct holder *h, uint32_t slot, uint32_t state, uint64_t now)
{
	struct held_request *q = &h->requests->slots[slot];
	struct held *mine = &h->held[slot];

	if (state == REQUEST_ANSWERING && h->pidfd >= 0) {
		/* in the middle of its write: the number stays in use until it says so */
		if (!mine->denied)
			deny(h, q, slot);
		mine->denied = true;
		return false;
	}
	if (!move(q, state, REQUEST_EXPIRED))
		return false; /* just now */
	deny(h, q, slot);
	atomic_fetch_add(&h->requests->expired, 1);
	h->expired_at = now;
	if (state == REQUEST_PENDING || h->pidfd < 0) {
		release(h, slot);
		return true;
	}
	if (mine->fd >= 0)
		close(mine->fd);
	mine->fd = -1;
	mine->patience = now + HELD_PATIENCE * h->deadline;
	return false;
}

static bool sweep_one(struct holder *h, uint32_t slot, uint64_t now)
{
	struct held_request *q = &h->requests->slots[slot];
	uint32_t state = atomic_load(&q->state);

	switch (state) {
	case REQUEST_ANSWERED:
		break;
	case REQUEST_PENDING:
	case REQUEST_TAKEN:
	case REQUEST_ANSWERING:
		return now >= q->deadline && expire(h, slot, state, now);
	case REQUEST_EXPIRED:
		if (now < h->held[slot].patience)
			return false;
		break;
	default:
		holder_say("slot %u has state %u", slot, state);
		deny(h, q, slot);
	}
	release(h, slot);
	return true;
}

void held_sweep(struct holder *h, uint64_t now)
{
	for (unsigned i = 0; i < h->n_used;)
		if (sweep_one(h, h->used[i], now))
			h->used[i] = h->used[--h->n_used];
		else
			i++;
}

void held_forget_expired(struct holder *h)
{
	for (unsigned i = 0; i < h->n_used; i++)
		if (atomic_load(&h->requests->slots[h->used[i]].state) == REQUEST_EXPIRED)
			h->held[h->used[i]].patience = 0;
}
