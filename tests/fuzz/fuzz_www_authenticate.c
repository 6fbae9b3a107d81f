// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Any header's value: it ends, and what is read of it is text. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fmt/www_authenticate.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static void check_value(const char value[static AUTH_VALUE_MAX])
{
	MUST(memchr(value, 0, AUTH_VALUE_MAX));
	for (; *value; value++)
		MUST(*value == '\t' || ((unsigned char)*value >= ' ' && *value != 0x7f));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *header = xstrndup((const char *)data, size);
	const char *at = header, *end = header + strlen(header);
	struct auth_challenge c;
	int rc;

	for (const char *before = at; (rc = auth_challenge_next(&at, &c)) > 0; before = at) {
		MUST(at > before && at <= end);
		MUST(c.scheme <= AUTH_BEARER);
		check_value(c.realm);
		check_value(c.service);
		check_value(c.scope);
		check_value(c.error);
	}
	MUST(at == end);
	return 0;
}
