/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The bytes of a tar archive: header blocks (V7, POSIX ustar and pax, STAR, GNU), PAX records
 * (POSIX.1-2008, pax, "pax Extended Header") and the sparse maps of GNU tar (GNU tar manual,
 * "Storing Sparse Files").
 *
 * What is accepted, and what it then means, is what Go's archive/tar makes of it, since that
 * is what container runtimes read layers with: more than the standards allow in places, less
 * in others. tests/e2e/tar-differential.test compares the two.
 */
#ifndef FMT_TAR_H
#define FMT_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fmt/fault.h"

#define TAR_BLOCK 512u

/* prefix of 155, a slash, name of 100 */
#define TAR_NAME_MAX 256u
#define TAR_LINK_MAX 100u

enum tar_type {
	TAR_OLD_FILE = 0, /* a directory if the name ends in a slash */
	TAR_FILE = '0',
	TAR_HARDLINK = '1',
	TAR_SYMLINK = '2',
	TAR_CHAR = '3',
	TAR_BLOCK_DEVICE = '4',
	TAR_DIR = '5',
	TAR_FIFO = '6',
	TAR_CONTIGUOUS = '7', /* a file, on systems that know nothing better */
	TAR_GNU_SPARSE = 'S',
	TAR_GNU_LONG_NAME = 'L', /* the body is the next entry's name */
	TAR_GNU_LONG_LINK = 'K', /* ... its link target */
	TAR_PAX = 'x', /* the body is PAX records for the next entry */
	TAR_PAX_GLOBAL = 'g', /* ... for all further entries */
};

enum tar_format { TAR_V7, TAR_USTAR, TAR_STAR, TAR_GNU };

struct tar_header {
	enum tar_format format;
	uint8_t type; /* an enum tar_type, or something else */
	int64_t size, mode, uid, gid, mtime;
	int64_t major, minor; /* 0 in V7 */
	char name[TAR_NAME_MAX + 1];
	char link[TAR_LINK_MAX + 1];
};

/* Bytes of a text that has no NUL at its end. */
struct tar_span {
	const char *p;
	size_t len;
};

/* What a sparse map says, not yet checked: both may be negative. */
struct tar_region {
	int64_t offset, length;
};

bool tar_block_is_zero(const uint8_t block[static TAR_BLOCK]);

/* Verify the checksum and decode the block. */
int tar_header_decode(
	struct tar_header *h, const uint8_t block[static TAR_BLOCK], struct fault *fault);

/* Whether entries of this type have no body, even where their header says a size. */
static inline bool tar_type_has_no_body(uint8_t type)
{
	return type >= TAR_HARDLINK && type <= TAR_FIFO;
}

/* A numeric header field: octal, or base-256 where the first bit is set. -1 if it is neither. */
int tar_numeric(const uint8_t *field, size_t len, int64_t *value);

/* A decimal number as Go's strconv.ParseInt takes it. -1 if it is none, or beyond 64 bits. */
int tar_decimal(struct tar_span text, int64_t *value);

/* Records that mean something here. Those below PAX_VALUES say one value, and the last wins. */
enum pax_key {
	PAX_PATH,
	PAX_LINKPATH,
	PAX_SIZE,
	PAX_UID,
	PAX_GID,
	PAX_MTIME,
	PAX_ATIME,
	PAX_CTIME,
	PAX_SPARSE_MAJOR,
	PAX_SPARSE_MINOR,
	PAX_SPARSE_NAME,
	PAX_SPARSE_SIZE,
	PAX_SPARSE_REALSIZE,
	PAX_SPARSE_NUMBLOCKS,
	PAX_SPARSE_MAP,
	PAX_VALUES,
	PAX_SPARSE_OFFSET = PAX_VALUES, /* these two alternate, one pair for each region */
	PAX_SPARSE_NUMBYTES,
	PAX_XATTR, /* name: what follows the prefix */
	PAX_OTHER,
};

struct pax_record {
	enum pax_key key;
	struct tar_span name; /* the keyword; of an extended attribute, its own name */
	struct tar_span value;
};

/*
 * The record at *pos of a PAX header's body; *pos moves behind it. Returns 1, 0 at the end,
 * -1 with *fault. Name and value are each followed by a byte that belongs to neither ('=' and
 * a newline), where a caller that owns the body may put a NUL.
 */
int pax_next(struct tar_span body, size_t *pos, struct pax_record *r, struct fault *fault);

/* A time such as "-1.25", with what is finer than a nanosecond cut off. -1 if it is none. */
int pax_time(struct tar_span text, int64_t *sec, uint32_t *nsec);

/*
 * Old GNU sparse maps: slots in the header block, then in extension blocks after it while
 * the last block's flag says so.
 */
#define TAR_SPARSE_SLOTS     4u
#define TAR_SPARSE_EXT_SLOTS 21u

const uint8_t *tar_sparse_slots(const uint8_t header[static TAR_BLOCK]);
bool tar_sparse_continues(const uint8_t header[static TAR_BLOCK]);
bool tar_sparse_ext_continues(const uint8_t ext[static TAR_BLOCK]);
/* The size of the file with its holes. -1 if the field is no number. */
int tar_sparse_real_size(const uint8_t header[static TAR_BLOCK], int64_t *size);
/* Slot i: 1, 0 if it ends the list (of this block), -1 if it has no numbers. */
int tar_sparse_slot(const uint8_t *slots, unsigned i, struct tar_region *r);

/* Take the next number of a 0.1 sparse map ("0,512,4096,512"): 1, 0 at the end, -1 if bad. */
int pax_sparse_map_next(struct tar_span *map, int64_t *value);

/*
 * A 1.0 sparse map: decimal numbers, each ended by a newline, in the blocks before the file's
 * data. The state carries a number across blocks; it starts as all zero.
 */
struct sparse_text {
	uint64_t magnitude;
	bool any, digits, negative, overflow;
};

/* The next number in a block, from *pos on: 1, 0 if the block has no further end, -1 if bad. */
int sparse_text_next(
	struct sparse_text *s, const uint8_t block[static TAR_BLOCK], size_t *pos, int64_t *value);

/*
 * Whether a region may follow one that ends at `end` in a file of `size` bytes: in order, not
 * overlapping, not beyond the end, no overflow.
 */
bool tar_region_fits(const struct tar_region *r, int64_t end, int64_t size);

#endif
