/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What an index lists besides images: told by its descriptor alone. */
#ifndef IMAGE_LISTED_H
#define IMAGE_LISTED_H

#include <jansson.h>
#include <stddef.h>

enum listed {
	LISTED_IMAGE, /* or an index, or what only its manifest can tell */
	LISTED_ATTESTATION,
	LISTED_SIGNATURE,
	LISTED_ARTIFACT,
	LISTED_OTHER, /* neither manifest nor index */
	LISTED_KINDS,
};

enum listed listed_kind(const json_t *descriptor);

/* A growing "a, b, c" for messages, cut when it gets long. Starts as all zero. */
struct text_list {
	char *text;
	size_t n;
};

/* What nobody could type or read is left out. */
void text_list_add(struct text_list *l, const char *item);
void text_list_free(struct text_list *l);

#define CLEANUP_TEXT_LIST CLEANUP(text_list_free)

/* "2 attestations", "1 signature" for each kind but images. */
void listed_add_counts(struct text_list *l, const size_t counts[static LISTED_KINDS]);

#endif
