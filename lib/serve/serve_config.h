/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The daemon's configuration file: JSON; docs/man/erofs-convert-serve.json.5 describes it. */
#ifndef SERVE_SERVE_CONFIG_H
#define SERVE_SERVE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fmt/cachefiles.h"
#include "lib/base/error.h"

/* A place that has what a registry has. */
struct config_mirror {
	char *host; /* HOST[:PORT] */
	char *prefix; /* put before the repository's name, "" for none: "proxy/docker.io/" */
	bool tls_verify, plain_http;
	char *cert_dir; /* NULL: the usual ones */
};

/* How one registry is reached. */
struct config_registry {
	char *host; /* as references name it: "docker.io" */
	struct config_mirror *mirrors; /* asked first, in this order */
	size_t n_mirrors;
	char **blob_servers; /* URLs, asked after the mirrors: source_http_new() */
	size_t n_blob_servers;
	char *authfile; /* of the daemon, for those who bring none; NULL: none */
	int tls_verify, plain_http; /* -1: as who asks says */
	char *cert_dir; /* NULL: as who asks says */
};

/* The kernel's cache of the transport cachefiles. */
struct config_cachefiles {
	char *tag; /* its name; NULL: not said */
	struct cachefiles_limits blocks, files; /* run 0: nothing is said, the kernel's own */
};

struct serve_config {
	char *store, *socket, *transport, *metrics; /* NULL: not said */
	uint64_t store_limit;
	bool strict;
	struct config_cachefiles cachefiles;
	struct config_registry *registries;
	size_t n_registries;
};

#define SERVE_CONFIG_PATH "/etc/erofs-convert/serve.json"

/*
 * Read and check the file. `path` NULL: SERVE_CONFIG_PATH, which need not be there. Unknown
 * members, wrong types and values out of range are errors that name file, line or member. When root
 * reads it, nobody else may be able to write to it. On failure *c holds nothing.
 */
int serve_config_read(struct serve_config *c, const char *path, struct error **err);
/* The same from memory. */
int serve_config_parse(struct serve_config *c, const char *bytes, size_t len, struct error **err);
void serve_config_free(struct serve_config *c); /* what it holds, not c itself */
const struct config_registry *serve_config_find(const struct serve_config *c, const char *host);

#define CLEANUP_SERVE_CONFIG CLEANUP(serve_config_free)

#endif
