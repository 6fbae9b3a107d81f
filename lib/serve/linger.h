/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A program that reads one file after the other asks again some microseconds after each answer. To
 * sleep until then, and be woken, costs both sides more than to look again for a moment: while a
 * processor has nothing else to do. This is how a thread that answers learns when that pays.
 */
#ifndef SERVE_LINGER_H
#define SERVE_LINGER_H

#include <stdbool.h>
#include <stdint.h>

#define LINGER UINT64_C(60000) /* nanoseconds, that a thread looks again before it sleeps */

/* Of one thread; zeros to begin with. */
struct lingerer {
	int keen;
	long preempted; /* so often, when that was looked at last */
};

static inline bool linger_pays(const struct lingerer *l)
{
	return l->keen > 0;
}

/* A request came after so many nanoseconds. On the thread itself. */
void linger_learn(struct lingerer *l, uint64_t waited);

#endif
