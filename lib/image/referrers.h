/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Manifests that name another one as their subject, in registries that keep no list of them:
 * then clients keep it, as an index under a tag made of the subject's digest (distribution-spec,
 * "Referrers Tag Schema").
 */
#ifndef IMAGE_REFERRERS_H
#define IMAGE_REFERRERS_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"

struct registry;

/* Does the manifest name a subject? */
bool referrers_has_subject(const void *manifest, size_t size);

/*
 * Put the manifest, which has been pushed, into the list of its subject. Others in it stay.
 * Without a subject nothing is done.
 */
int referrers_add(struct registry *r, const void *manifest, size_t size, const char *media_type,
	const struct digest *digest, struct error **err);

/* The parts: the tag of a subject's list; what such a list says of a manifest. */
#define REFERRERS_TAG_MAX 128
void referrers_tag(const struct digest *subject, char tag[static REFERRERS_TAG_MAX]);
json_t *referrers_descriptor(
	const json_t *manifest, size_t size, const char *media_type, const struct digest *digest);

/* Put the descriptor into the list, unless it is in. *changed tells. */
int referrers_put(json_t *index, json_t *descriptor, bool *changed, struct error **err);

#endif
