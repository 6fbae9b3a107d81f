// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/log_event_limit.h"

#include <string.h>
#include <xxhash.h>

static struct event_count things[EVENT_THINGS], kinds[LOG_EVENT_KINDS];

static bool is_over(const struct event_count *c, uint64_t now)
{
	return now - c->since >= EVENT_WINDOW_MS;
}

static void tell_of(struct event_count *c, void (*tell)(const struct event_count *c))
{
	if (c->suppressed)
		tell(c);
	c->suppressed = 0;
}

/* The thing's, or a free one, or the one whose window began first. */
static struct event_count *find(enum log_event_kind kind, uint64_t hash)
{
	struct event_count *best = NULL;

	for (struct event_count *c = things; c < things + EVENT_THINGS; c++) {
		if (c->used && c->kind == kind && c->hash == hash)
			return c;
		if (!best || (best->used && (!c->used || c->since < best->since)))
			best = c;
	}
	return best;
}

static struct event_count *take(enum log_event_kind kind, const char *about, uint64_t now,
	void (*tell)(const struct event_count *c))
{
	uint64_t hash = about ? XXH3_64bits(about, strlen(about)) : 0;
	struct event_count *c = find(kind, hash);

	if (c->used && c->kind == kind && c->hash == hash)
		return c;
	tell_of(c, tell);
	*c = (struct event_count){
		.kind = kind, .used = true, .has_about = about, .hash = hash, .since = now
	};
	if (about)
		strncpy(c->about, about, sizeof(c->about) - 1);
	return c;
}

/* One more; false when that is too many. */
static bool count(struct event_count *c, unsigned most)
{
	if (c->lines == most) {
		c->suppressed++;
		return false;
	}
	c->lines++;
	return true;
}

static void renew(struct event_count *c, uint64_t now)
{
	if (!is_over(c, now))
		return;
	c->since = now;
	c->lines = 0;
}

bool event_limit(enum log_event_kind kind, const char *about, uint64_t now, uint64_t *suppressed,
	void (*tell)(const struct event_count *c))
{
	struct event_count *all = &kinds[kind], *one = take(kind, about, now, tell);

	*suppressed = 0;
	all->kind = kind;
	if (is_over(all, now))
		tell_of(all, tell);
	renew(all, now);
	renew(one, now);
	if (!count(one, EVENT_PER_THING) || !count(all, EVENT_PER_KIND))
		return false;
	*suppressed = one->suppressed;
	one->suppressed = 0;
	return true;
}

void event_limit_flush(uint64_t now, bool all, void (*tell)(const struct event_count *c))
{
	for (struct event_count *c = things; c < things + EVENT_THINGS; c++)
		if (all || is_over(c, now))
			tell_of(c, tell);
	for (struct event_count *c = kinds; c < kinds + LOG_EVENT_KINDS; c++)
		if (all || is_over(c, now))
			tell_of(c, tell);
}

void event_limit_forget(void)
{
	memset(things, 0, sizeof(things));
	memset(kinds, 0, sizeof(kinds));
}
