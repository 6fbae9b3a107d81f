/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Which image manifests are meant by a tag and a platform. */
#ifndef IMAGE_CHOOSE_H
#define IMAGE_CHOOSE_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/base/error.h"
#include "lib/image/origin.h"
#include "lib/image/platform.h"

struct choose_query {
	const struct origin *where;
	const char *spec; /* for messages */
	const char *form; /* how to name a tag: "oci:DIR:TAG" */
	const char *tag; /* or NULL */
	const struct platform *wanted; /* NULL: this machine's, or the only one there is */
	bool converted; /* where an index has both for a platform: EROFS, or tar layers */
};

struct choice {
	struct descriptor d; /* of the document; lives as long as holder */
	json_t *holder; /* the index that lists it */
	const json_t *platform; /* what the index says of it, or NULL; holder's */
	bool by_platform; /* an index's platform led there */
};

/* What the tag names, be it a manifest or an index. */
int choose_named(struct choice *c, const struct choose_query *q, struct error **err);

int choose_manifest(struct choice *c, const struct choose_query *q, struct error **err);
void choice_free(struct choice *c); /* what it holds, not c itself */

#define CLEANUP_CHOICE CLEANUP(choice_free)

/*
 * Every image for Linux that the tag's index leads to, in its order, once each. What else it
 * lists is told in one line. None at all is an error.
 */
struct choices {
	struct choice *v;
	size_t n, cap;
};

int choose_all(struct choices *all, const struct choose_query *q, struct error **err);
void choices_free(struct choices *all); /* what it holds, not all itself */

#define CLEANUP_CHOICES CLEANUP(choices_free)

/* The parts of it: the entry of index.json; an index that the descriptor of a choice names. */
const json_t *choose_tag(const json_t *manifests, const struct choose_query *q, struct error **err);
const json_t *choose_platform(const json_t *manifests, const struct choose_query *q,
	bool *by_platform, struct error **err);
json_t *choose_read_index(
	const struct choose_query *q, const struct descriptor *d, struct error **err);
int choose_check_type(const struct descriptor *d, int depth, struct error **err);

#endif
