// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Any bytes as the daemon's configuration file: all of it checked, or an error and nothing. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/serve/serve_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static void is_path(const char *path)
{
	MUST(!path || *path == '/');
}

static void look_at_registry(const struct serve_config *c, const struct config_registry *r)
{
	MUST(*r->host && serve_config_find(c, r->host) == r);
	is_path(r->authfile);
	is_path(r->cert_dir);
	MUST(r->tls_verify >= -1 && r->tls_verify <= 1);
	MUST(r->plain_http >= -1 && r->plain_http <= 1);
	for (size_t i = 0; i < r->n_mirrors; i++) {
		const struct config_mirror *m = &r->mirrors[i];
		size_t len = strlen(m->prefix);

		MUST(*m->host && !strpbrk(m->host, "/@?# \n"));
		MUST(!len || m->prefix[len - 1] == '/');
		is_path(m->cert_dir);
	}
	for (size_t i = 0; i < r->n_blob_servers; i++) {
		MUST(!strncmp(r->blob_servers[i], "http", 4));
		MUST(!strpbrk(r->blob_servers[i], "?#"));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *copy = xmemdup(data, size);
	CLEANUP_SERVE_CONFIG struct serve_config c;
	int rc = serve_config_parse(&c, copy, size, &err);

	MUST((rc == 0) == !err);
	MUST(rc == 0 || (!c.store && !c.socket && !c.transport && !c.metrics && !c.registries));
	is_path(c.store);
	is_path(c.socket);
	for (size_t i = 0; i < c.n_registries; i++)
		look_at_registry(&c, &c.registries[i]);
	return 0;
}
