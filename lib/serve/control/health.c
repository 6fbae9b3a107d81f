// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/control/health.h"

#include <inttypes.h>
#include <stdio.h>

/* A frame that came makes all well that was before it. */
static void look(struct health *h, uint64_t now, const struct engine_stats *stats)
{
	if (stats->frames_fetched != h->frames) {
		*h = (struct health){ .frames = stats->frames_fetched,
			.since = now,
			.base = stats->failed,
			.failed = stats->failed };
	} else if (stats->failed != h->failed) {
		h->failed = stats->failed;
		h->failed_at = now;
	}
}

bool health_judge(struct health *h, uint64_t now, const struct engine_stats *stats,
	unsigned overdue, char *reason, size_t size)
{
	look(h, now, stats);
	if (overdue) {
		snprintf(reason, size, "%u readers wait beyond their deadline", overdue);
		return false;
	}
	if (h->failed == h->base || now - h->failed_at > HEALTH_MEMORY_MS)
		return true;
	snprintf(reason, size,
		"nothing was fetched for %" PRIu64 " s, in which %" PRIu64 " reads failed",
		(now - h->since) / 1000, h->failed - h->base);
	return false;
}
