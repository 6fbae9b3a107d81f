// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Any bytes as a file of credentials: one kind of them, or none and an error. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/registry/auth_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static void try_for(const char *bytes, size_t size, const char *host, const char *repository)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_AUTH_FILE struct auth_file a;
	const struct credentials *c = &a.found;
	int rc = auth_file_parse(&a, bytes, size, host, repository, &err);

	MUST((rc == 0) == !err);
	MUST(!c->user + !c->identity_token + !c->registry_token >= 2);
	MUST(!c->user == !c->password);
	MUST(rc == 0 ||
		(!c->user && !c->identity_token && !c->registry_token && !a.helper && !a.store));
	if (c->user)
		MUST(*c->user);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *copy = xmemdup(data, size);

	try_for(copy, size, "docker.io", "library/debian");
	try_for(copy, size, "h", "a/b");
	return 0;
}
