/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * One entry of a layer as a value: what lib/layer reads out of a tar and lib/tree applies. It
 * stands here so that neither of the two needs to know the other.
 */
#ifndef FMT_ENTRY_H
#define FMT_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum entry_type {
	ENTRY_FILE,
	ENTRY_DIR,
	ENTRY_SYMLINK,
	ENTRY_HARDLINK,
	ENTRY_CHAR,
	ENTRY_BLOCK,
	ENTRY_FIFO,
};

struct entry_xattr {
	const char *name; /* whole, with its prefix: "user.mime_type" */
	const void *value;
	size_t value_len;
};

/* One data region of a sparse file, bytes; regions are in order and do not overlap. */
struct entry_region {
	uint64_t offset;
	uint64_t length;
};

/* What a header (with the PAX and GNU records before it) says. Valid during the callback. */
struct entry {
	enum entry_type type;
	const char *path; /* as the tar has it: any bytes but NUL, not cleaned; never empty */
	const char *link; /* target of a symlink or hard link, else "" */
	uint64_t size; /* of a regular file: what stat() will say (logical, with holes); else 0 */
	uint32_t mode; /* permission bits with setuid, setgid and sticky: 07777 at most */
	uint32_t uid, gid;
	uint32_t major, minor; /* of a character or block device */
	int64_t mtime; /* seconds since 1970, negative before */
	uint32_t mtime_nsec; /* 0 to 999,999,999 */
	const struct entry_xattr *xattrs; /* from SCHILY.xattr records, sorted by name, unique */
	size_t n_xattrs;
	const struct entry_region *regions; /* of a sparse file: where data lies */
	size_t n_regions;
	bool sparse;
	uint64_t header_offset; /* of the entry's first header, bytes into the uncompressed tar */
};

#endif
