/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Files that appear whole: written without a name (O_TMPFILE), then linked or renamed into
 * place. Where the filesystem has no O_TMPFILE, a hidden name under flock() stands in, and
 * what a killed process left of those is removed by outfile_sweep().
 */
#ifndef BASE_OUTFILE_H
#define BASE_OUTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

struct outfile;

/* A new, empty file on the filesystem of `dir` (an existing directory). Mode 0666 & ~umask. */
struct outfile *outfile_new(const char *dir, struct error **err);

/* The descriptor, open for reading and writing; still the outfile's. */
int outfile_fd(const struct outfile *o);

/* Write all of it at the given byte offset. */
int outfile_pwrite(
	struct outfile *o, const void *p, size_t len, uint64_t offset, struct error **err);

/*
 * Give it the name dir/name; `dir` is on the filesystem where the file was made. 0, also when
 * the name exists already and `replace` is false. With `replace` the bytes are on the disk
 * (fsync) before the name is. Once only.
 */
int outfile_publish(
	struct outfile *o, const char *dir, const char *name, bool replace, struct error **err);

/* Closes it; if it was never published, nothing of it remains. NULL is allowed. */
void outfile_free(struct outfile *o);

/* Remove what killed processes left in `dir`. Never an error: another time will do. */
void outfile_sweep(const char *dir);

/* Is this one of the hidden names, as a directory may show them while others work there? */
bool outfile_is_hidden_name(const char *name);

/* Letters for a hidden name that is probably not taken. */
#define OUTFILE_RANDOM 6
void outfile_random_name(char name[static OUTFILE_RANDOM + 1]);

/* For tests: do as on a filesystem without O_TMPFILE. */
void outfile_test_force_names(bool force);

static inline void cleanup_outfile_(struct outfile **o)
{
	outfile_free(*o);
}

#define CLEANUP_OUTFILE CLEANUP(cleanup_outfile_)

#endif
