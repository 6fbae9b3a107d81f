/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A range of a blob, whatever it takes: tries, resumed where the last one broke. */
#ifndef REGISTRY_FETCH_H
#define REGISTRY_FETCH_H

#include "lib/registry/part.h"

#define FETCH_SIZE_UNKNOWN UINT64_MAX

struct fetch {
	struct registry *r;
	const struct digest *digest;
	uint64_t at; /* the next byte of the blob that is wanted */
	uint64_t end; /* after the last one */
	uint64_t size; /* the blob's, or FETCH_SIZE_UNKNOWN */
	/* Takes bytes, all or none (false: come again after control.resume); client's thread. */
	bool (*take)(void *arg, const void *p, size_t n);
	/* A pause has become long: block until there is room. false: no more is wanted. */
	bool (*wait_for_room)(void *arg);
	void *arg;
	struct http_control *control;
	bool hurry; /* what crawls is a failed try */
	bool alone; /* the last try broke: not on a connection that others have, too */

	/* of the try under way */
	uint64_t skip; /* bytes that a server sends in front of what is wanted */
	bool goes_on; /* after them, too: it is cut off */
	char fault[160]; /* why its answer is refused, or empty */
};

/* One that registry_cancel() ends, and when `digest` is set, registry_cancel_blob() as well. */
struct reading {
	struct reading *next;
	const struct digest *digest;
	struct http_control control;
};
void reading_begin(struct registry *r, struct reading *g);
void reading_end(struct registry *r, struct reading *g);

/* Is there such a range? */
int check_range(uint64_t offset, uint64_t len, struct error **err);

/* 0 when all of it has been taken. */
int registry_fetch_run(struct fetch *f, struct error **err);

#endif
