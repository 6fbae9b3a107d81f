// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/holder/requests.h"

#include <stddef.h>

#include "lib/serve/holder/shared_table.h"

_Static_assert(offsetof(struct requests, magic) == 0, "as of all shared tables");
_Static_assert((REQUESTS_MAX & (REQUESTS_MAX - 1)) == 0, "the ring is indexed modulo 2^32");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
	"a lock would be in one process's memory");

struct requests *requests_map(int fd)
{
	return shared_table_map(fd, sizeof(struct requests), REQUESTS_MAGIC);
}

/* Zeros are FREE slots. */
int requests_create(void)
{
	return shared_table_create(
		"erofs-convert-requests", sizeof(struct requests), REQUESTS_MAGIC);
}
