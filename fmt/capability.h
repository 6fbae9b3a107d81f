/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* File capabilities: the value of the xattr security.capability (linux/capability.h). */
#ifndef FMT_CAPABILITY_H
#define FMT_CAPABILITY_H

#include <stdbool.h>
#include <stddef.h>

#define CAPABILITY_XATTR "security.capability"

/*
 * One of the two forms that Linux takes today, with and without a root uid. Of others,
 * setxattr(2), getxattr(2) and execve(2) say EINVAL.
 */
bool capability_is_valid(const void *value, size_t len);

#endif
