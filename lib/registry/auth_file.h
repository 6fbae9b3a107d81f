/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * One file of credentials: containers-auth.json(5), and Docker's config.json, which has the same
 * members. jansson's copies of the values are wiped; what its lexer leaves in freed memory is not,
 * since that would take allocation functions for the whole process.
 */
#ifndef REGISTRY_AUTH_FILE_H
#define REGISTRY_AUTH_FILE_H

#include <stddef.h>

#include "lib/registry/credentials.h"

enum { AUTH_FILE_MAX = 1 << 20 }; /* bytes */

/* What it says of one repository. */
struct auth_file {
	struct credentials found; /* of the best of "auths" */
	char *helper; /* of "credHelpers"; "": none, and no store either */
	char *store; /* "credsStore" */
	bool once; /* no regular file: it cannot be read again */
};

/* Errors name no values, only the place in the file. An empty file says nothing. */
int auth_file_parse(struct auth_file *a, const char *bytes, size_t len, const char *host,
	const char *repository, struct error **err);

/*
 * The error's code is that of open() or read() when that was what failed. `from` is the path. It is
 * opened with the rights of `caller` (NULL: this process's), whose file must be a regular one.
 */
int auth_file_read(struct auth_file *a, const char *path, const struct caller *caller,
	const char *host, const char *repository, struct error **err);

void auth_file_free(struct auth_file *a); /* what it holds, wiped */
#define CLEANUP_AUTH_FILE CLEANUP(auth_file_free)

#endif
