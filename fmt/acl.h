/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * POSIX ACLs in the form that getxattr(2) shows: u32 version 2, then entries of u16 tag,
 * u16 permissions, u32 id (linux/posix_acl_xattr.h).
 */
#ifndef FMT_ACL_H
#define FMT_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fmt/fault.h"

struct acl {
	uint16_t mode; /* the permission bits (0777) that stat() shows with this ACL */
	bool mode_only; /* it says no more than those bits do: the kernel does not keep it */
};

/* By the rules of the kernel's posix_acl_valid(). 0, or -1 with *fault. */
int acl_decode(struct acl *acl, const void *value, size_t len, struct fault *fault);

#endif
