// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * For how long a server may be silent. Whoever waits wants it asked again, or another one, before
 * his time is over: a connection may be dead. But a server may also be slow to begin, which has to
 * fetch the bytes itself. So, after a silence, it is given longer for a while, whatever else it
 * answers at once meanwhile; and so is, for itself, wherever it leads to.
 */
#include "config.h"

#include "lib/registry/part.h"
#include "lib/registry/transfer.h"

enum {
	LONGER = 2, /* times as long, ... */
	A_WHILE = 60 * 1000, /* ... for so many milliseconds after the last silence */
};

static unsigned patience(const struct registry *r, bool elsewhere)
{
	uint64_t silent_at = r->silent_at[elsewhere];

	if (r->o.others || !silent_at || monotonic_ms() - silent_at > A_WHILE)
		return r->o.patience;
	return r->o.patience * LONGER;
}

void perform_patiently(
	struct registry *r, bool elsewhere, struct http_request *h, struct http_answer *a)
{
	h->patience = patience(r, elsewhere);
	http_perform(r->http, h, a);
	if (a->stalled)
		r->silent_at[elsewhere] = monotonic_ms();
}
