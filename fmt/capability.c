// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/capability.h"

#include "fmt/le.h"

enum {
	EFFECTIVE = 1, /* the one flag beside the revision */
	REVISION_2 = 0x02000000,
	REVISION_3 = 0x03000000,
	SIZE_2 = 20,
	SIZE_3 = 24, /* the last 4 bytes are the root uid */
};

bool capability_is_valid(const void *value, size_t len)
{
	uint32_t revision = len >= 4 ? get_le32(value) & ~(uint32_t)EFFECTIVE : 0;

	if (len == SIZE_2)
		return revision == REVISION_2;
	return len == SIZE_3 && revision == REVISION_3 &&
	       get_le32((const uint8_t *)value + SIZE_2) != UINT32_MAX;
}
