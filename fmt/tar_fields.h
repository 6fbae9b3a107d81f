/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Where the fields of a tar header lie, for its reader and its writer; every format agrees on
 * those of V7 (POSIX.1-2008, pax, "ustar").
 */
#ifndef FMT_TAR_FIELDS_H
#define FMT_TAR_FIELDS_H

enum {
	AT_NAME = 0,
	AT_MODE = 100,
	AT_UID = 108,
	AT_GID = 116,
	AT_SIZE = 124,
	AT_MTIME = 136,
	AT_CHECKSUM = 148,
	AT_TYPE = 156,
	AT_LINK = 157,
	AT_MAGIC = 257,
	AT_MAJOR = 329,
	AT_MINOR = 337,
	AT_PREFIX = 345,
};

#endif
