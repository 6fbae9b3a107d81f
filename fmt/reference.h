/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Names of images in registries as Docker reads them: [HOST[:PORT]/]PATH[:TAG][@DIGEST]
 * (distribution/reference: grammar in reference.go, ParseNormalizedNamed and ParseAnyReference).
 */
#ifndef FMT_REFERENCE_H
#define FMT_REFERENCE_H

#include <stddef.h>

#include "fmt/fault.h"

#define REFERENCE_DEFAULT_HOST "docker.io"

/* A piece of the text that was parsed, or of a literal; ptr NULL: not there. */
struct reference_part {
	const char *ptr;
	size_t len;
};

struct reference {
	struct reference_part host; /* with its port; "docker.io" when none was given */
	struct reference_part prefix; /* "library/" where Docker adds it, else not there */
	struct reference_part
		path; /* the repository is prefix and path; at most 255 bytes with the host */
	struct reference_part tag; /* not there when none was given */
	struct reference_part digest; /* "sha256:..." */
};

/*
 * Only part the host from the rest, in any text: sets host and prefix, returns where the path
 * begins. It cannot fail; nothing is checked.
 */
const char *reference_split_host(struct reference *r, const char *text);

/* Parse a NUL-terminated name. 0, or -1 with the fault, whose words are Docker's. */
int reference_parse(struct reference *r, const char *text, struct fault *fault);

#endif
