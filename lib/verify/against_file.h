/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The data of one file of a converted image, read back through its chunk indexes. */
#ifndef VERIFY_AGAINST_FILE_H
#define VERIFY_AGAINST_FILE_H

#include "lib/verify/against.h"

/* The digest of what a reader of the file would get; see fingerprint.h. */
int against_digest(const struct against *a, const struct bootstrap_inode *file,
	uint8_t digest[static FINGERPRINT_SIZE], struct error **err);

#endif
