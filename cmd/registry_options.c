// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "cmd/registry_options.h"

#include <string.h>

#include "lib/registry/ask_password.h"
#include "lib/registry/secret.h"

enum { RETRIES_MAX = 1000 };

/* What was given, with marks for "not at all". */
static struct given {
	const char *authfile, *creds, *token, *cert_dir;
	bool no_creds, plain_http;
	int tls_verify; /* -1 */
	uint64_t retries; /* UINT64_MAX */
} given[] = {
	[REGISTRY_ONLY] = { .tls_verify = -1, .retries = UINT64_MAX },
	[REGISTRY_SOURCE] = { .tls_verify = -1, .retries = UINT64_MAX },
	[REGISTRY_DEST] = { .tls_verify = -1, .retries = UINT64_MAX },
};

static const char *const prefixes[] = {
	[REGISTRY_ONLY] = "",
	[REGISTRY_SOURCE] = "src-",
	[REGISTRY_DEST] = "dest-",
};

/* Those that are for both sides when they have no prefix, and those that are always for one. */
/* clang-format off */
#define SHARED(prefix, side)                                                                  \
	{ .name = prefix "authfile", .arg = "FILE", .string = &given[side].authfile,          \
		.help = "where credentials are (see containers-auth.json(5))" },              \
	{ .name = prefix "tls-verify", .arg = "BOOL", .boolean = &given[side].tls_verify,     \
		.help = "false: take any certificate, then plain HTTP (default: true)" },     \
	{ .name = prefix "retry-times", .arg = "N", .number = &given[side].retries,           \
		.max = RETRIES_MAX, .help = "how often to try again (default: 3)" }
#define SIDED(prefix, side)                                                                   \
	{ .name = prefix "creds", .arg = "USER[:PASS]", .string = &given[side].creds,         \
		.secret = true, .help = "who to be; without PASS, it is asked for" },         \
	{ .name = prefix "no-creds", .flag = &given[side].no_creds,                           \
		.help = "be anonymous, whatever files say" },                                 \
	{ .name = prefix "registry-token", .arg = "TOKEN", .string = &given[side].token,      \
		.secret = true, .help = "a bearer token to send as it is" },                  \
	{ .name = prefix "cert-dir", .arg = "DIR", .string = &given[side].cert_dir,           \
		.help = "*.crt to trust, *.cert and *.key to show" },                         \
	{ .name = prefix "plain-http", .flag = &given[side].plain_http,                       \
		.help = "use HTTP, without TLS" }

static const struct cmd_option one[] = {
	SHARED("", REGISTRY_ONLY),
	SIDED("", REGISTRY_ONLY),
	{ 0 },
};

static const struct cmd_option two[] = {
	SHARED("", REGISTRY_ONLY),
	SHARED("src-", REGISTRY_SOURCE),
	SIDED("src-", REGISTRY_SOURCE),
	SHARED("dest-", REGISTRY_DEST),
	SIDED("dest-", REGISTRY_DEST),
	{ 0 },
};
static const struct cmd_option push[] = {
	SHARED("", REGISTRY_ONLY),
	SIDED("", REGISTRY_DEST),
	SHARED("src-", REGISTRY_SOURCE),
	SIDED("src-", REGISTRY_SOURCE),
	SHARED("dest-", REGISTRY_DEST),
	SIDED("dest-", REGISTRY_DEST),
	{ 0 },
};
/* clang-format on */

const struct cmd_option_group registry_options_one = { "Registry options", one };
const struct cmd_option_group registry_options_two = { "Registry options", two };
const struct cmd_option_group registry_options_push = { "Registry options", push };

static int check(const struct verb *verb, const struct given *g, const char *prefix)
{
	const char *first = g->no_creds ? "no-creds" : "creds";

	if (g->creds && (!*g->creds || *g->creds == ':'))
		return cmd_usage(verb, "--%screds takes USER[:PASS]; the user is missing", prefix);
	if (g->token && !*g->token)
		return cmd_usage(verb, "--%sregistry-token is empty", prefix);
	if (g->no_creds && g->creds)
		return cmd_usage(
			verb, "--%sno-creds and --%screds exclude each other", prefix, prefix);
	if (g->token && (g->no_creds || g->creds))
		return cmd_usage(verb, "--%s%s and --%sregistry-token exclude each other", prefix,
			first, prefix);
	return CMD_DONE;
}

static int complete_creds(struct given *g)
{
	CLEANUP_WIPE char *password = NULL;
	struct error *e = NULL;

	if (!g->creds || strchr(g->creds, ':'))
		return CMD_DONE;
	password = ask_password(g->creds, &e);
	if (!password) {
		cmd_fail(e);
		return CMD_USAGE;
	}
	g->creds = secret_join(g->creds, ":", password);
	return CMD_DONE;
}

int registry_options_get(
	const struct verb *verb, enum registry_side side, struct registry_options *o)
{
	struct given *g = &given[side];
	const struct given *shared = &given[REGISTRY_ONLY];
	int tls_verify = g->tls_verify >= 0 ? g->tls_verify : shared->tls_verify;
	uint64_t retries = g->retries != UINT64_MAX ? g->retries : shared->retries;
	int status = check(verb, g, prefixes[side]);

	if (status == CMD_DONE)
		status = complete_creds(g);
	*o = REGISTRY_OPTIONS_DEFAULT;
	o->credentials = (struct credentials_options){
		.creds = g->creds,
		.no_creds = g->no_creds,
		.authfile = g->authfile ? g->authfile : shared->authfile,
		.registry_token = g->token,
	};
	o->cert_dir = g->cert_dir;
	o->plain_http = g->plain_http;
	if (tls_verify >= 0)
		o->tls_verify = tls_verify;
	if (retries != UINT64_MAX)
		o->retries = (unsigned)retries;
	return status;
}
