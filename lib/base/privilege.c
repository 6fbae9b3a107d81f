// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/privilege.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

/* The initial user namespace maps all ids to themselves (user_namespaces(7)). */
bool privilege_is_initial_namespace(void)
{
	CLEANUP_FCLOSE FILE *f = fopen("/proc/self/uid_map", "re");
	uint32_t inside, outside, n;

	if (!f) /* no user namespaces */
		return true;
	if (fscanf(f, "%" SCNu32 " %" SCNu32 " %" SCNu32, &inside, &outside, &n) != 3)
		return false;
	return !inside && !outside && n == UINT32_MAX;
}

bool privilege_is_full_root(void)
{
	return geteuid() == 0 && privilege_is_initial_namespace();
}
