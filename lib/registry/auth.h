/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Authorization for one repository: what the registry asked for, and what we have for it. */
#ifndef REGISTRY_AUTH_H
#define REGISTRY_AUTH_H

#include "lib/registry/credentials.h"
#include "lib/registry/http.h"

struct registry;
struct auth;

struct auth *auth_new(struct registry *r); /* which outlives it */
void auth_free(struct auth *a); /* wiped; NULL is allowed */

/*
 * The header's line for a request, or NULL: send none. With `from`, that repository is to be read
 * as well. Fetches a token when the last one ends soon, with the
 * credentials that files and helpers have by then. The line is freed by auth_line_free().
 */
int auth_line(struct auth *a, const char *from, struct http_control *control, char **line,
	struct error **err);
void auth_line_free(char *line); /* wiped; NULL is allowed */

/*
 * The registry has answered 401 to a request with `line` (or NULL). 1: auth_line() has better to
 * offer now, perhaps from a file of credentials that has changed; 0: nothing; -1.
 */
int auth_denied(struct auth *a, const char *from, const char *line,
	const struct http_answer *answer, const struct http_control *control, struct error **err);

/* "Authorization: Basic ...", freed by auth_line_free(). The credentials have a user. */
char *auth_basic_line(const struct credentials *c);

/* Was anything found to log in with? For hints. */
bool auth_has_credentials(const struct auth *a);

#endif
