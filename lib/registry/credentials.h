/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Who we are to a registry: options, containers-auth.json(5), Docker's config.json and its helpers.
 */
#ifndef REGISTRY_CREDENTIALS_H
#define REGISTRY_CREDENTIALS_H

#include <stdbool.h>

#include "lib/base/caller.h"
#include "lib/base/error.h"

/* At most one kind is set; none: anonymous. Wiped when freed. */
struct credentials {
	char *user, *password; /* Basic, or to ask for a token */
	char *identity_token; /* a refresh token (OAuth2) */
	char *registry_token; /* a bearer token to use as it is */
	char *from; /* where they were found, for --debug and errors: "--creds", a file's name, a
		       helper */
	char *file; /* the file that says so, itself or by its helper; NULL: none */
	bool once; /* the file is a pipe or the like: nobody can read it again */
};

struct credentials_options {
	const char *creds; /* "USER[:PASS]"; without a password it is asked for on the terminal */
	bool no_creds; /* anonymous whatever files say */
	const char *authfile; /* --authfile; NULL: REGISTRY_AUTH_FILE, then the usual places */
	const char *registry_token;
	/*
	 * For whom, when that is not this process: the authfile is read, and helpers run, with the
	 * rights of this caller. There are no usual places then, since those are another user's.
	 */
	const struct caller *caller;
};

/*
 * Find those for HOST[:PORT]/REPOSITORY, in the order of containers-auth.json(5): options, the
 * authfile, $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json,
 * $DOCKER_CONFIG/config.json or ~/.docker/config.json. Within a file: credHelpers, then auths by
 * the longest matching namespace, then credsStore. docker.io is also found under
 * "https://index.docker.io/v1/". Files that are named but unreadable or malformed are an error;
 * usual places that do not exist are none. No secret is in an error's words. A helper
 * (docker-credential-NAME) gets 30 seconds; a caller's has PATH, and of what the system knows of
 * that user HOME, USER and LOGNAME in its environment.
 */
int credentials_find(struct credentials *c, const struct credentials_options *o, const char *host,
	const char *repository, struct error **err);
/* Could another look at the same place find others: are they of a file that lasts? */
bool credentials_may_change(const struct credentials *c, const struct credentials_options *o);
bool credentials_equal(const struct credentials *a, const struct credentials *b);
void credentials_free(struct credentials *c); /* what it holds, wiped; not c itself */

#define CLEANUP_CREDENTIALS CLEANUP(credentials_free)

#endif
