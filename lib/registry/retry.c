// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/retry.h"

#include <sys/random.h>
#include <time.h>

#include "lib/base/interrupt.h"
#include "lib/base/log.h"

enum {
	FIRST_WAIT = 500, /* milliseconds; doubles */
	LONGEST_WAIT = 30 * 1000,
	SERVER_WAIT_MAX = 60, /* seconds, of Retry-After */
	STEP = 100, /* milliseconds */
	SILENCE = 10 * 1000, /* so long nobody wonders */
	PROGRESS = 64 * 1024, /* bytes; less of it might go on for ever */
};

static unsigned divisor = 1;

void retry_set_divisor(unsigned d)
{
	divisor = d;
}

bool retry_is_transient(const struct http_answer *a)
{
	switch (a->end) {
	case HTTP_BROKEN:
	case HTTP_REFUSED:
	case HTTP_TLS_BROKEN:
	case HTTP_UNRESOLVED:
		return true;
	case HTTP_DONE:
		break;
	default:
		return false;
	}
	/* 501 and 505 are what a server cannot do at all; others than those of RFC 9110 come from
	 * proxies that cannot reach it */
	return a->status == 408 || a->status == 429 ||
	       (a->status >= 500 && a->status <= 599 && a->status != 501 && a->status != 505);
}

bool retry_worthwhile(const struct retry *r, const struct http_answer *a)
{
	if (a->end == HTTP_UNRESOLVED && r->made) /* the resolver has tried several times itself */
		return false;
	return retry_is_transient(a);
}

/* So that many clients do not come back at the same moment. */
static uint64_t jittered(uint64_t ms)
{
	uint32_t r = 0;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = 0;
	return ms - ms / 4 + r % (ms / 2 + 1);
}

static uint64_t wait_ms(const struct retry *r, const struct http_answer *a)
{
	uint64_t ms = r->made < 7 ? (uint64_t)FIRST_WAIT << r->made : LONGEST_WAIT;

	if (a->end == HTTP_DONE && a->retry_after > 0)
		return (uint64_t)(a->retry_after < SERVER_WAIT_MAX ? a->retry_after
								   : SERVER_WAIT_MAX) *
		       1000;
	return jittered(ms < LONGEST_WAIT ? ms : LONGEST_WAIT);
}

/* false: somebody wants us to end. */
static bool sleep_for(const struct retry *r, uint64_t ms)
{
	for (;;) {
		uint64_t step = ms < STEP ? ms : STEP;
		struct timespec t = { .tv_nsec = (long)step * 1000000 };

		if (interrupt_pending() || (r->control && r->control->cancel))
			return false;
		if (ms == 0)
			return true;
		nanosleep(&t, NULL);
		ms -= step;
	}
}

/* People who wait learn that it is not for us. */
static void tell(const struct retry *r, const struct http_answer *a, uint64_t ms, const char *why)
{
	if (a->end == HTTP_BROKEN && a->silent >= SILENCE / divisor && !r->discreet)
		log_info("%s; trying again (%u of %u)", why, r->made + 1, r->most);
	else
		log_debug("trying again in %llu ms: %s", (unsigned long long)ms, why);
}

bool retry_wait(struct retry *r, const struct http_answer *a, const char *why)
{
	uint64_t ms;

	if (r->made >= r->most)
		return false;
	ms = wait_ms(r, a) / divisor;
	tell(r, a, ms, why);
	r->made++;
	return sleep_for(r, ms);
}

void retry_progress(struct retry *r, uint64_t bytes)
{
	if (bytes >= PROGRESS)
		r->made = 0;
}
