/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* How many lines about one thing are too many. Part of log_event.c, which holds the lock. */
#ifndef BASE_LOG_EVENT_LIMIT_H
#define BASE_LOG_EVENT_LIMIT_H

#include "lib/base/log_event.h"

enum {
	EVENT_ABOUT_MAX = 96, /* of the text; the hash is of all of it */
	EVENT_WINDOW_MS = 60000,
	EVENT_PER_THING = 5, /* lines in a window */
	EVENT_PER_KIND = 200,
	EVENT_THINGS = 256, /* that are remembered */
};

struct event_count {
	enum log_event_kind kind;
	bool used, has_about;
	char about[EVENT_ABOUT_MAX];
	uint64_t hash;
	uint64_t since; /* when its window began; milliseconds */
	unsigned lines; /* in it */
	uint64_t suppressed; /* not told yet */
};

/*
 * May there be a line? *suppressed: how many it has to tell of. tell() is called for counts that
 * have to be told now because they are forgotten or begin anew; *c is the table's.
 */
bool event_limit(enum log_event_kind kind, const char *about, uint64_t now, uint64_t *suppressed,
	void (*tell)(const struct event_count *c));

/* tell() of all whose window is over, or of all. */
void event_limit_flush(uint64_t now, bool all, void (*tell)(const struct event_count *c));

void event_limit_forget(void);

#endif
