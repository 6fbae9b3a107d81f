/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What a decoder in fmt/ says of bytes that it refuses: what is wrong, and where. Callers
 * make the sentence: they know the file, the layer and the path.
 */
#ifndef FMT_FAULT_H
#define FMT_FAULT_H

#include <stdint.h>

struct fault {
	const char *what; /* a literal, such as "header checksum is wrong" */
	uint64_t offset; /* bytes from the start of what was being decoded */
};

#endif
