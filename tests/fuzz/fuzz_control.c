// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Any bytes as a request over the control socket: what is taken can be said again, and is the same.
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/registry/secret.h"
#include "lib/serve/control/control_message.h"

#define FAKE_NAMES_ONLY
#include "tests/unit/fake_service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void must_be_same(const struct control_request *a, const struct control_request *b)
{
	const struct credentials_options *c = &a->registry.credentials;
	const struct credentials_options *d = &b->registry.credentials;

	MUST(a->verb == b->verb);
	if (a->verb != CONTROL_MOUNT)
		return;
	MUST(same(a->mount.image, b->mount.image) && same(a->mount.platform, b->mount.platform) &&
		same(a->mount.mountpoint, b->mount.mountpoint));
	MUST(a->mount.transport == b->mount.transport && a->mount.prefetch == b->mount.prefetch &&
		a->mount.strict == b->mount.strict && a->mount.writable == b->mount.writable);
	MUST(same(c->creds, d->creds) && same(c->authfile, d->authfile) &&
		same(c->registry_token, d->registry_token) && c->no_creds == d->no_creds);
	MUST(same(a->registry.cert_dir, b->registry.cert_dir) &&
		a->registry.tls_verify == b->registry.tls_verify &&
		a->registry.plain_http == b->registry.plain_http &&
		a->registry.retries == b->registry.retries);
}

static void try_request(const char *bytes, size_t size)
{
	CLEANUP_CONTROL_REQUEST struct control_request r, again = { 0 };
	CLEANUP_ERROR struct error *err = NULL, *other = NULL;
	CLEANUP_WIPE char *line = NULL;
	int rc = control_request_parse(&r, bytes, size, &err);

	MUST((rc == 0) == !err);
	if (rc < 0) {
		MUST(!r.json);
		return;
	}
	if (r.verb == CONTROL_MOUNT)
		MUST(r.mount.image && r.mount.mountpoint && *r.mount.mountpoint == '/');
	line = control_request_format(&r, &other);
	if (!line) /* escapes may make it longer */
		return;
	MUST(control_request_parse(&again, line, strlen(line), &other) == 0);
	must_be_same(&r, &again);
}

static void try_answer(const char *bytes, size_t size)
{
	CLEANUP_ERROR struct error *err = NULL, *no_mount = NULL;
	json_auto_t *answer = control_answer_parse(bytes, size, &err);
	struct service_answer a;

	MUST(!answer == (err != NULL));
	if (answer)
		MUST((control_mounted_parse(&a, answer, &no_mount) == 0) == !no_mount);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *copy = xmemdup(data, size);

	try_request(copy, size);
	try_answer(copy, size);
	return 0;
}
