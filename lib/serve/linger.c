// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/linger.h"

#include <sys/resource.h>

enum {
	KEEN_MAX = 8, /* so many times in a row in vain, and lingering is left */
	SHY = -16, /* for so many requests, when others want the processor */
};

/* Since that was asked last: to linger takes time from others then. */
static bool was_preempted(struct lingerer *l)
{
	long before = l->preempted;
	struct rusage u;

	if (getrusage(RUSAGE_THREAD, &u) < 0)
		return false;
	l->preempted = u.ru_nivcsw;
	return u.ru_nivcsw != before;
}

void linger_learn(struct lingerer *l, uint64_t waited)
{
	bool preempted = was_preempted(l);

	if (l->keen > 0 && preempted)
		l->keen = SHY;
	else if (l->keen < 0)
		l->keen++;
	else if (waited < 2 * LINGER)
		l->keen = KEEN_MAX;
	else if (l->keen)
		l->keen--;
}
