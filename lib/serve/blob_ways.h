/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A blob that several images have comes from the source of any of them: one source for the engine,
 * of which images bring a part and take it away again.
 */
#ifndef SERVE_BLOB_WAYS_H
#define SERVE_BLOB_WAYS_H

#include <pthread.h>

#include "lib/serve/engine/source.h"

/* One image's way to the blob. */
struct way {
	struct blob_source *source;
	unsigned users; /* images that have brought it */
	unsigned readers; /* under way */
	bool leaving; /* no one begins to read through it any more */
};

struct blob_ways {
	struct blob_source source; /* what the engine sees */
	struct digest digest; /* of the blob */
	_Atomic unsigned cancelled; /* how often the engine gave up its reads */
	_Atomic unsigned epoch; /* of `ways`: one more whenever one goes */
	pthread_mutex_t mutex; /* for what follows */
	pthread_cond_t idle; /* a way has one reader less */
	struct way *ways;
	size_t n, cap;
	size_t first; /* the way that worked last */
};

void blob_ways_init(struct blob_ways *w, const struct digest *digest);
void blob_ways_end(struct blob_ways *w); /* what it holds; no one reads any more */

/* On any thread. `source` outlives its removal. The engine asks for `gap` and `place` only before
 * it has the source: of the first. */
void blob_ways_add(struct blob_ways *w, struct blob_source *source);
/*
 * Nobody reads through it any more when this returns: what is under way is cancelled, and goes on
 * through another one.
 */
void blob_ways_remove(struct blob_ways *w, struct blob_source *source);

#endif
