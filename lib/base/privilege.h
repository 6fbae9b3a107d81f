/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#ifndef BASE_PRIVILEGE_H
#define BASE_PRIVILEGE_H

#include <stdbool.h>

/* Is the user namespace the system's own, where all ids exist? */
bool privilege_is_initial_namespace(void);

/* Root of the whole system, not of a user namespace where only some users exist. */
bool privilege_is_full_root(void);

#endif
