/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The fanotify events that were read and not yet answered, in memory that holder and worker share
 * (a memfd), so that either can answer what the other left.
 *
 * The holder reads the events, and keeps their descriptors; the worker fills the cache and answers
 * by the descriptor's number, as every process may that has the group. A number is used again only
 * after the holder has closed it, which it does only after the answer: so an answer that comes
 * twice meets nobody (ENOENT). States move by compare-and-exchange:
 *
 *   FREE -> PENDING (holder: read)  -> TAKEN (worker)  -> ANSWERING -> ANSWERED (worker)
 *           -> FREE (holder: closed)
 *   PENDING or TAKEN -> EXPIRED (holder: the deadline; denies with EIO) -> FREE
 *   EXPIRED -> ANSWERED (worker: lets go of what it had taken, without an answer)
 *
 * A slot that expired while it was TAKEN gets its next request only after that, or after the
 * worker's death, or after ten deadlines: a late thread must not answer for another request.
 *
 * A new worker treats TAKEN and ANSWERING as PENDING. Both ends check all that they read here.
 */
#ifndef HOLDER_REQUESTS_H
#define HOLDER_REQUESTS_H

#include <stdatomic.h>
#include <stdint.h>

#include "lib/serve/holder/event.h"

#define REQUESTS_MAX   16384 /* a power of two; readers beyond that wait in the kernel's queue */
#define REQUESTS_MAGIC UINT64_C(0x32726f6865637265) /* layout 2 */

enum request_state {
	REQUEST_FREE,
	REQUEST_PENDING,
	REQUEST_TAKEN,
	REQUEST_ANSWERING,
	REQUEST_ANSWERED,
	REQUEST_EXPIRED,
};

struct held_request {
	_Atomic uint32_t state;
	int32_t fd; /* its number in the holder: the event's name */
	uint64_t dev, ino; /* of the file: st_dev, st_ino; ino 0: it is not known (union coming) */
	uint64_t offset, len; /* bytes of it that are read */
	uint64_t deadline; /* CLOCK_MONOTONIC, nanoseconds */
	int32_t pid; /* of the reader */
	uint32_t reserved;
};

/*
 * What read(2) has brought and no slot has yet. The kernel writes it here itself, so a holder that
 * dies at any instant leaves its successor each event, but not which file it was of: only the
 * event's descriptor told that.
 */
union coming {
	_Atomic uint32_t size; /* of the first event, its first field; 0: there is none */
	_Alignas(8) char bytes[EVENT_SIZE]; /* for event_next() */
};

struct requests {
	uint64_t magic;
	union coming coming; /* the holder's */
	_Atomic uint32_t head; /* how many have been put into `ring`, modulo 2^32: the holder's */
	_Atomic uint32_t worker_pid, holder_pid;
	_Atomic uint64_t beat; /* CLOCK_MONOTONIC, nanoseconds: when the worker was last alive */
	_Atomic uint64_t read, answered, expired, denied; /* counters, for status */
	_Atomic uint32_t ring[REQUESTS_MAX]; /* slots in the order of their coming */
	struct held_request slots[REQUESTS_MAX];
};

/* Map the memory behind `fd` (a memfd of sizeof(struct requests), sealed against shrinking; its
 * size is checked). NULL with errno. */
struct requests *requests_map(int fd);
/* A new one, empty: its descriptor; -1 with errno. */
int requests_create(void);

#endif
