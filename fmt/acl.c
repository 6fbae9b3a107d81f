// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/acl.h"

#include "fmt/le.h"

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };
enum { HEADER = 4, ENTRY = 8, ACL_VERSION = 2 };

static int refuse(struct fault *fault, const char *what, uint64_t offset)
{
	*fault = (struct fault){ .what = what, .offset = offset };
	return -1;
}

/* Tags come in ascending order; only USER and GROUP may repeat. */
static bool tag_follows(uint16_t tag, uint16_t last)
{
	switch (tag) {
	case USER:
	case GROUP:
		return tag >= last;
	case USER_OBJ:
	case GROUP_OBJ:
	case MASK:
	case OTHER:
		return tag > last;
	default:
		return false;
	}
}

int acl_decode(struct acl *acl, const void *value, size_t len, struct fault *fault)
{
	const uint8_t *p = value;
	uint16_t perm[OTHER + 1] = { 0 };
	unsigned seen = 0;
	uint16_t last = 0;

	if (len < HEADER || (len - HEADER) % ENTRY || get_le32(p) != ACL_VERSION)
		return refuse(fault, "ACL has a wrong header or length", 0);
	for (size_t at = HEADER; at < len; at += ENTRY) {
		uint16_t tag = get_le16(p + at), bits = get_le16(p + at + 2);

		if (!tag_follows(tag, last))
			return refuse(fault, "ACL entries are out of order", at);
		if (bits & ~7u)
			return refuse(fault, "ACL has unknown permissions", at + 2);
		if ((tag == USER || tag == GROUP) && get_le32(p + at + 4) == UINT32_MAX)
			return refuse(fault, "ACL has an invalid id", at + 4);
		perm[tag] = bits;
		seen |= tag;
		last = tag;
	}
	if ((seen & (USER_OBJ | GROUP_OBJ | OTHER)) != (USER_OBJ | GROUP_OBJ | OTHER))
		return refuse(fault, "ACL lacks owner, group or others", 0);
	if (seen & (USER | GROUP) && !(seen & MASK))
		return refuse(fault, "ACL lacks a mask", 0);
	acl->mode_only = !(seen & (USER | GROUP | MASK));
	acl->mode = (uint16_t)(perm[USER_OBJ] << 6 |
			       (seen & MASK ? perm[MASK] : perm[GROUP_OBJ]) << 3 | perm[OTHER]);
	return 0;
}
