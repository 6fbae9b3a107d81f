/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Challenges of a WWW-Authenticate header (RFC 9110, 11.6.1), as registries send them: Basic, and
 * Bearer with realm, service, scope and error (distribution "Token Authentication Specification").
 */
#ifndef FMT_WWW_AUTHENTICATE_H
#define FMT_WWW_AUTHENTICATE_H

#include <stdbool.h>
#include <stddef.h>

enum auth_scheme { AUTH_UNKNOWN, AUTH_BASIC, AUTH_BEARER };

enum { AUTH_VALUE_MAX = 2048 }; /* longer values make the challenge a bad one */

struct auth_challenge {
	enum auth_scheme scheme;
	/* unquoted; empty when not there */
	char realm[AUTH_VALUE_MAX];
	char service[AUTH_VALUE_MAX];
	char scope[AUTH_VALUE_MAX];
	char error[AUTH_VALUE_MAX];
};

/*
 * The next challenge of a header's value at *at; *at moves behind it. 1, or 0 at the end, or -1
 * when what follows cannot be read (and nothing of it is used).
 */
int auth_challenge_next(const char **at, struct auth_challenge *c);

#endif
