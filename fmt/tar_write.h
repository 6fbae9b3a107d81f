/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Writing a tar: what stands before an entry's data. A plain POSIX ustar header where that can
 * say it all, and PAX records only for what it cannot; no user names, no times but the mtime. So
 * equal entries are equal bytes, and GNU tar, bsdtar and Go's archive/tar read the same out of
 * them (POSIX.1-2008, pax; GNU tar manual, "Storing Sparse Files", "PAX Format, Version 1.0").
 */
#ifndef FMT_TAR_WRITE_H
#define FMT_TAR_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "fmt/entry.h"

/* Readers take PAX headers up to this size: Go's archive/tar has the limit. */
#define TAR_WRITE_PAX_MAX (1u << 20)

/* Two blocks of zeros end an archive. */
#define TAR_WRITE_END 1024u

/* How many bytes a head has in which parts; all are whole blocks. */
struct tar_head {
	size_t size; /* all of it: PAX header if there is one, header, map of a sparse file */
	size_t pax_size; /* the PAX records alone: beyond TAR_WRITE_PAX_MAX nobody reads them */
};

/*
 * The head of an entry. A directory's path ends in a slash. Of a file, `size` bytes follow, or,
 * where it is sparse, the bytes of its regions; then zeros up to a whole block. The name of an
 * xattr must have no '=' in it. Ids are below 2^32, device numbers below 2^21.
 */
struct tar_head tar_head_measure(const struct entry *e);

/* Write it at p, tar_head_measure(e).size bytes. */
void tar_head_encode(uint8_t *p, const struct entry *e);

/* Zeros that follow `size` bytes of data. */
static inline unsigned tar_padding(uint64_t size)
{
	return (unsigned)(-size & 511);
}

#endif
