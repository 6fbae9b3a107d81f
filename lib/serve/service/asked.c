// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/serve/service/part.h"

static char *copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

static void own_registry(struct registry_options *o)
{
	struct credentials_options *c = &o->credentials;

	c->creds = copy(c->creds);
	c->authfile = copy(c->authfile);
	c->registry_token = copy(c->registry_token);
	o->cert_dir = copy(o->cert_dir);
}

void asked_copy(struct asked *a, const struct service_request *r)
{
	*a = (struct asked){ .image = xstrdup(r->image),
		.platform = copy(r->platform),
		.mountpoint = xstrdup(r->mountpoint ? r->mountpoint : ""),
		.registry = r->registry ? *r->registry : REGISTRY_OPTIONS_DEFAULT,
		.transport = r->transport,
		.prefetch = r->prefetch,
		.strict = r->strict,
		.writable = r->writable,
		.since = time(NULL) };
	own_registry(&a->registry);
	caller_copy(&a->caller, r->caller);
}

static void free_secret(const char *s)
{
	if (s)
		explicit_bzero((char *)s, strlen(s));
	free((char *)s);
}

void asked_free(struct asked *a)
{
	struct credentials_options *c = &a->registry.credentials;

	free(a->image);
	free(a->platform);
	free(a->mountpoint);
	free_secret(c->creds);
	free_secret(c->registry_token);
	free((char *)c->authfile);
	free((char *)a->registry.cert_dir);
	caller_free(&a->caller);
	*a = (struct asked){ 0 };
}

/* ---- as JSON ---- */

static json_t *caller_to_json(const struct caller *c)
{
	json_t *groups = json_array();

	for (size_t i = 0; i < c->n_groups; i++)
		json_array_append_new(groups, json_integer(c->groups[i]));
	return json_pack("{s:I, s:I, s:o}", "uid", (json_int_t)c->uid, "gid", (json_int_t)c->gid,
		"groups", groups);
}

json_t *asked_to_json(const struct asked *a)
{
	const struct registry_options *o = &a->registry;
	json_t *registry = json_pack("{s:s*, s:s*, s:b, s:b, s:b, s:I}", "authfile",
		o->credentials.authfile, "certDir", o->cert_dir, "noCreds", o->credentials.no_creds,
		"tlsVerify", o->tls_verify, "plainHttp", o->plain_http, "retries",
		(json_int_t)o->retries);

	return json_pack("{s:s, s:s*, s:s, s:o, s:o, s:s, s:i, s:b, s:b, s:I}", "image", a->image,
		"platform", a->platform, "mountpoint", a->mountpoint, "registry", registry,
		"caller", caller_to_json(&a->caller), "transport",
		service_transport_name(a->transport), "prefetch", (int)a->prefetch, "strict",
		a->strict, "writable", a->writable, "since", (json_int_t)a->since);
}

json_t *asked_secrets(const struct asked *a)
{
	const struct credentials_options *c = &a->registry.credentials;

	if (!c->creds && !c->registry_token)
		return NULL;
	return json_pack("{s:s*, s:s*}", "creds", c->creds, "registryToken", c->registry_token);
}

static int caller_from_json(struct caller *c, json_t *json, struct error **err)
{
	json_t *groups, *group;
	json_int_t uid, gid;
	size_t i;

	if (json_unpack(json, "{s:I, s:I, s:o}", "uid", &uid, "gid", &gid, "groups", &groups) < 0)
		return error_set(err, 0, "who asked for it is not said");
	*c = (struct caller){ .uid = (uid_t)uid,
		.gid = (gid_t)gid,
		.groups = xcalloc(json_array_size(groups) + 1, sizeof(*c->groups)) };
	json_array_foreach(groups, i, group) c->groups[c->n_groups++] =
		(gid_t)json_integer_value(group);
	return 0;
}

static void registry_from_json(struct registry_options *o, json_t *json, const json_t *secrets)
{
	struct credentials_options *c = &o->credentials;
	int no_creds = 0, tls_verify = 1, plain_http = 0;
	json_int_t retries = 3;

	json_unpack(json, "{s?s, s?s, s?b, s?b, s?b, s?I}", "authfile", &c->authfile, "certDir",
		&o->cert_dir, "noCreds", &no_creds, "tlsVerify", &tls_verify, "plainHttp",
		&plain_http, "retries", &retries);
	c->no_creds = no_creds;
	o->tls_verify = tls_verify;
	o->plain_http = plain_http;
	o->retries = (unsigned)retries;
	if (secrets)
		json_unpack((json_t *)secrets, "{s?s, s?s}", "creds", &c->creds, "registryToken",
			&c->registry_token);
	own_registry(o);
}

int asked_from_json(struct asked *a, const json_t *json, const json_t *secrets, struct error **err)
{
	const char *image, *platform = NULL, *mountpoint, *transport;
	json_t *registry, *caller;
	int prefetch, strict, writable;
	json_int_t since;

	*a = (struct asked){ .registry = REGISTRY_OPTIONS_DEFAULT };
	if (json_unpack((json_t *)json, "{s:s, s?s, s:s, s:o, s:o, s:s, s:i, s:b, s:b, s:I}",
		    "image", &image, "platform", &platform, "mountpoint", &mountpoint, "registry",
		    &registry, "caller", &caller, "transport", &transport, "prefetch", &prefetch,
		    "strict", &strict, "writable", &writable, "since", &since) < 0 ||
		service_transport_parse(transport, &a->transport) < 0 || prefetch < 0 ||
		prefetch > SERVICE_PREFETCH_ALL)
		return error_set(err, 0, "it is not what this version writes");
	a->image = xstrdup(image);
	a->platform = copy(platform);
	a->mountpoint = xstrdup(mountpoint);
	a->prefetch = (enum service_prefetch)prefetch;
	a->strict = strict;
	a->writable = writable;
	a->since = (time_t)since;
	registry_from_json(&a->registry, registry, secrets);
	return caller_from_json(&a->caller, caller, err);
}
