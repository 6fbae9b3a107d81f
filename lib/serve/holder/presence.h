/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Which bytes of which cache files are there, in memory that worker and holder share (a memfd), so
 * that the holder lets a read of them go on by itself: a reader is then woken once, not after the
 * worker, and no worker has to live.
 *
 * The worker writes all but what is said to be the holder's. A bit stands for a granule of a file
 * and is set after all of the granule has been written to the file. It is cleared before the worker
 * takes anything of the granule for absent again. What was written stays in the file, whoever dies:
 * the bits of a dead worker are as good as before, until the next one looks through the file itself
 * (presence_add() begins with none).
 *
 * An event's file is open in the holder, so its inode's number is nobody else's until the answer;
 * and an event comes from a marked file, whose entry was made anew before the mark. The time of
 * birth tells files of one number apart even if an entry is forgotten. That a bit goes in the
 * moment between the holder's look and its answer is the same as for the worker's own answers: it
 * is as if the read had come a moment before.
 *
 * Either end checks all that it reads here against its own limits.
 */
#ifndef HOLDER_PRESENCE_H
#define HOLDER_PRESENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PRESENCE_MAGIC UINT64_C(0x3165636e65736572) /* layout 1 */

enum {
	PRESENCE_WAYS = 8, /* places that a file may have: more of one hash have no entry */
	PRESENCE_SETS = 512, /* a power of two */
	PRESENCE_FILES = PRESENCE_WAYS * PRESENCE_SETS,
	PRESENCE_GRANULE = 32768, /* bytes of a file */
	PRESENCE_WORDS = 1 << 18, /* of 64 bits: 512 GiB of files in all; 2 MiB of memory */
	PRESENCE_STEP = 512 * 1024, /* bytes; the worker is told of a hit once in each */
	PRESENCE_NOTES = 1024, /* a power of two; what is not read in time is lost */
};

/* What makes a file that file. */
struct presence_id {
	uint64_t dev, ino;
	uint64_t born; /* nanoseconds; 0: the filesystem does not say, and there is no entry */
};

struct presence_file {
	_Atomic uint32_t generation; /* odd: the entry is in use; even: it is not, or changes */
	_Atomic uint32_t first; /* its first word */
	_Atomic uint64_t dev, ino, born;
	_Atomic uint64_t size; /* bytes */
	_Atomic uint64_t hits; /* the holder's: reads that it has let go on. Never begins anew */
};

struct presence {
	uint64_t magic;
	_Atomic uint32_t owner; /* the worker that keeps it, by its process number */
	_Atomic uint32_t head; /* the holder's: how many notes there have been, modulo 2^32 */
	_Atomic uint64_t notes[PRESENCE_NOTES]; /* the holder's: slot << 32 | step of the file */
	struct presence_file files[PRESENCE_FILES];
	_Atomic uint64_t words[PRESENCE_WORDS];
};

/* As requests_map() and requests_create(). */
struct presence *presence_map(int fd);
int presence_create(void);

/* Which file is open there, and its size. 0, or -1 with errno. */
int presence_identify(int fd, struct presence_id *id, uint64_t *size);

/*
 * All of [offset, offset + len), as far as it lies in the file, is there: the file's slot. Else -1:
 * also for no bytes at all, and for what lies behind the end.
 */
int presence_look(
	const struct presence *p, const struct presence_id *id, uint64_t offset, uint64_t len);

/* ---- for the worker, one thread at a time ---- */

/* Words for a file of that size; more than there are: it can have none. */
uint32_t presence_words(uint64_t size);
/* An entry, with no bit set; the words are nobody else's. Its slot, or -1: there is no place. */
int presence_add(struct presence *p, const struct presence_id *id, uint64_t size, uint32_t first);
void presence_remove(struct presence *p, uint32_t slot);
/* Does it make sense? */
bool presence_is_valid(const struct presence *p, uint32_t slot);

/* Bits of one entry, one thread at a time; others may do so for another one. */
void presence_set(struct presence *p, uint32_t slot, uint64_t granule, bool is_there);
void presence_clear(struct presence *p, uint32_t slot);

#endif
