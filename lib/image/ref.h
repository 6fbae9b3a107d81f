/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Image references on the command line, as skopeo's users write them: TRANSPORT:REST.
 */
#ifndef IMAGE_REF_H
#define IMAGE_REF_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"

enum transport {
	TRANSPORT_OCI,
	TRANSPORT_OCI_ARCHIVE,
	TRANSPORT_DOCKER_ARCHIVE,
	TRANSPORT_TAR,
	TRANSPORT_DOCKER,
};

struct registry_options; /* lib/registry/registry.h */

struct image_ref {
	enum transport transport;
	char *spec; /* as given, for messages */
	char *path; /* oci: the layout's directory; archives: the file, or "-" */
	/*
	 * Of these; NULL when none was given. docker-archive: also "@INDEX". docker: "latest" when
	 * neither tag nor digest was given, NULL when only a digest was.
	 */
	char *tag;
	char **files; /* tar: the layers, lowest first */
	size_t n_files;
	/* docker: */
	char *host; /* with its port; "docker.io" when none was given */
	char *repository; /* "library/debian" */
	char *digest; /* "sha256:...", as digest_parse() takes it; it goes before the tag */
	/* How to speak to it: the caller's, who sets it after parsing. NULL: the defaults. */
	const struct registry_options *registry;
};

/*
 * Parse; a missing or unknown transport is an error whose hint shows the known ones, and
 * docker-daemon: and containers-storage: are answered with the pipe that does the job.
 * docker: names are read as Docker reads them, and refused in its words (fmt/reference.h).
 */
int image_ref_parse(struct image_ref *ref, const char *spec, struct error **err);
void image_ref_copy(struct image_ref *to, const struct image_ref *from);
void image_ref_free(struct image_ref *ref); /* what it holds, not ref itself */

/* "oci:", ... for messages. */
const char *transport_prefix(enum transport t);

/* Readers take any tag; what is written follows the grammar of image-spec's annotations.md. */
bool image_ref_tag_is_valid(const char *tag);

#define CLEANUP_IMAGE_REF CLEANUP(image_ref_free)

#endif
