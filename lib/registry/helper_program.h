/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * docker-credential-NAME programs (docker-credential-helpers, "Development"): `get` with the
 * server's address on standard input, {"Username", "Secret"} on standard output.
 */
#ifndef REGISTRY_HELPER_PROGRAM_H
#define REGISTRY_HELPER_PROGRAM_H

#include "lib/registry/credentials.h"

enum {
	HELPER_SECONDS = 30,
	HELPER_OUTPUT_MAX = 64 << 10, /* bytes */
};

struct helper_query {
	const char *name;
	const char *server; /* its address */
	unsigned seconds; /* that it may take */
	const struct caller
		*caller; /* whose rights it gets; NULL: this process's, and environment */
};

/*
 * Ask docker-credential-`name`, found by PATH, for the server. 1: they are in *c, `from` is the
 * program's name; 0: it has none. It is killed, with what it has started, when its time is over or
 * the user interrupts. What it prints is in no error; its standard error is shown with --debug.
 */
int helper_program_get(struct credentials *c, const struct helper_query *q, struct error **err);

#endif
