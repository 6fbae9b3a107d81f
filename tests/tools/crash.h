/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A disk that loses what was not synced. The program is linked with --wrap for pwrite, ftruncate,
 * fsync and fdatasync; while a journal is kept, each change of a file is noted in it with the bytes
 * that were there before, and what a sync has made durable. After the process was killed, another
 * one undoes a random part of what was not durable: as a power failure leaves a disk.
 */
#ifndef TESTS_TOOLS_CRASH_H
#define TESTS_TOOLS_CRASH_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Keep a journal in a new file. Syncs only take time from now on; of one in `fail_one_in` (0:
 * none), the cache's fail, and what they were about may be lost for ever. `broken`: fdatasync()
 * of cache files does nothing, for a test of this test.
 */
void crash_journal(const char *path, uint64_t seed, unsigned fail_one_in, bool broken);

/* Is it nearly full? */
bool crash_journal_is_full(void);

/* Undo what a power failure might: in the files that are still in `dir`. How many bytes. */
uint64_t crash_undo(const char *journal, const char *dir, uint64_t seed);

#endif
