/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Bearer tokens: the distribution project's token protocol, with its OAuth2 form. */
#ifndef REGISTRY_TOKEN_H
#define REGISTRY_TOKEN_H

#include "lib/registry/credentials.h"
#include "lib/registry/http.h"

struct registry;

enum { TOKEN_SCOPES_MAX = 3 };

struct token_query {
	const char *realm, *service; /* service "": none */
	const char *scopes[TOKEN_SCOPES_MAX];
	size_t n_scopes;
	const struct credentials *credentials;
	struct http_control *control;
	bool *refused; /* out, where it fails: are the credentials refused? */
};

/* Fetch one; *expires is in monotonic milliseconds. NULL on error. Wipe it after use. */
char *token_fetch(
	struct registry *r, const struct token_query *q, uint64_t *expires, struct error **err);

/* Of a token server's answer; for tests. `now` is wall time, *lifetime in seconds from then. */
char *token_parse(
	const char *bytes, size_t size, int64_t now, uint64_t *lifetime, struct error **err);

#endif
