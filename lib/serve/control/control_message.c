// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/control/control_message.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/registry/secret.h"

static const char *const verbs[] = {
	[CONTROL_PING] = "ping",
	[CONTROL_MOUNT] = "mount",
	[CONTROL_STATUS] = "status",
	[CONTROL_REAP] = "reap",
};

static const char *const prefetches[] = {
	[SERVICE_PREFETCH_NONE] = "none",
	[SERVICE_PREFETCH_BACKGROUND] = "background",
	[SERVICE_PREFETCH_ALL] = "all",
};

#define N(array) (sizeof(array) / sizeof(*(array)))

/* ---- members ---- */

/* Each member is read into its place, if it is there. */
struct member {
	const char *name;
	int (*take)(const json_t *v, void *to, struct error **err);
	void *to;
	bool needed;
};

static int take_text(const json_t *v, void *to, struct error **err)
{
	const char *s = json_string_value(v);

	if (!s || !*s)
		return error_set(err, 0, "not a string with something in it");
	*(const char **)to = s;
	return 0;
}

static int take_path(const json_t *v, void *to, struct error **err)
{
	const char *s = json_string_value(v);

	if (!s || *s != '/')
		return error_set(err, 0, "not an absolute path");
	*(const char **)to = s;
	return 0;
}

static int take_creds(const json_t *v, void *to, struct error **err)
{
	const char *s = json_string_value(v);

	if (!s || *s == ':' || !strchr(s, ':'))
		return error_set(err, 0, "not USER:PASS");
	*(const char **)to = s;
	return 0;
}

/* It becomes a part of a header. */
static int take_token(const json_t *v, void *to, struct error **err)
{
	const char *s = json_string_value(v);

	if (!s || !*s)
		return error_set(err, 0, "not a string with something in it");
	for (const char *c = s; *c; c++)
		if (*c <= ' ' || *c > '~')
			return error_set(err, 0, "it has a character that no token has");
	*(const char **)to = s;
	return 0;
}

static int take_bool(const json_t *v, void *to, struct error **err)
{
	if (!json_is_boolean(v))
		return error_set(err, 0, "neither true nor false");
	*(bool *)to = json_is_true(v);
	return 0;
}

static int take_retries(const json_t *v, void *to, struct error **err)
{
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < 0 || n > CONTROL_RETRIES_MAX)
		return error_set(err, 0, "not a number from 0 to %d", CONTROL_RETRIES_MAX);
	*(unsigned *)to = (unsigned)n;
	return 0;
}

static int take_version(const json_t *v, void *to, struct error **err)
{
	(void)to;
	if (json_is_integer(v) && json_integer_value(v) == CONTROL_VERSION)
		return 0;
	error_set(err, 0, "this daemon speaks version %d of the control protocol only",
		CONTROL_VERSION);
	return error_hint(err, "the same release of erofs-convert at both ends");
}

/* The index of the word, -1: none of them. */
static int word_of(const json_t *v, const char *const *words, size_t n)
{
	const char *s = json_string_value(v);

	for (size_t i = 0; s && i < n; i++)
		if (strcmp(s, words[i]) == 0)
			return (int)i;
	return -1;
}

static int take_verb(const json_t *v, void *to, struct error **err)
{
	int i = word_of(v, verbs, N(verbs));

	if (i < 0)
		return error_set(err, 0, "neither ping, mount, status nor reap");
	*(enum control_verb *)to = (enum control_verb)i;
	return 0;
}

static int take_prefetch(const json_t *v, void *to, struct error **err)
{
	int i = word_of(v, prefetches, N(prefetches));

	if (i < 0)
		return error_set(err, 0, "neither none, background nor all");
	*(enum service_prefetch *)to = (enum service_prefetch)i;
	return 0;
}

static int take_transport(const json_t *v, void *to, struct error **err)
{
	const char *s = json_string_value(v);

	if (!s || service_transport_parse(s, to) < 0)
		return error_set(err, 0, "no transport has that name");
	return 0;
}

static int take_image(const json_t *v, void *to, struct error **err)
{
	const char *s = json_string_value(v);

	if (!s || (strncmp(s, "docker://", 9) != 0 && strncmp(s, "oci:/", 5) != 0))
		return error_set(err, 0, "neither docker://HOST/NAME nor oci:/PATH");
	*(const char **)to = s;
	return 0;
}

static const struct member *find_member(const struct member *m, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(m[i].name, name) == 0)
			return &m[i];
	return NULL;
}

static int take_members(json_t *object, const struct member *m, size_t n, struct error **err)
{
	const char *name;
	json_t *v;

	json_object_foreach(object, name, v)
	{
		const struct member *known = find_member(m, n, name);
		CLEANUP_FREE char *shown = text_printable(name, strnlen(name, 64));

		if (!known)
			return error_set(err, 0, "\"%s\" is not known here", shown);
		if (known->take(v, known->to, err) < 0)
			return error_wrap(err, "\"%s\"", name);
	}
	for (size_t i = 0; i < n; i++)
		if (m[i].needed && !json_object_get(object, m[i].name))
			return error_set(err, 0, "\"%s\" is missing", m[i].name);
	return 0;
}

/* ---- a request ---- */

static int take_registry(const json_t *v, void *to, struct error **err)
{
	struct registry_options *o = to;
	struct credentials_options *c = &o->credentials;
	const struct member members[] = {
		{ "authfile", take_path, &c->authfile, false },
		{ "creds", take_creds, &c->creds, false },
		{ "no-creds", take_bool, &c->no_creds, false },
		{ "registry-token", take_token, &c->registry_token, false },
		{ "tls-verify", take_bool, &o->tls_verify, false },
		{ "cert-dir", take_path, &o->cert_dir, false },
		{ "plain-http", take_bool, &o->plain_http, false },
		{ "retry-times", take_retries, &o->retries, false },
	};

	if (!json_is_object(v))
		return error_set(err, 0, "not an object");
	if (take_members((json_t *)v, members, N(members), err) < 0)
		return -1;
	if (c->no_creds + (c->creds != NULL) + (c->registry_token != NULL) > 1)
		return error_set(err, 0,
			"\"creds\", \"no-creds\" and \"registry-token\" exclude "
			"each other");
	return 0;
}

static int take_mount(struct control_request *r, struct error **err)
{
	struct service_request *m = &r->mount;
	const struct member members[] = {
		{ "version", take_version, NULL, true },
		{ "verb", take_verb, &r->verb, true },
		{ "image", take_image, &m->image, true },
		{ "mountpoint", take_path, &m->mountpoint, true },
		{ "platform", take_text, &m->platform, false },
		{ "transport", take_transport, &m->transport, false },
		{ "prefetch", take_prefetch, &m->prefetch, false },
		{ "strict", take_bool, &m->strict, false },
		{ "writable", take_bool, &m->writable, false },
		{ "registry", take_registry, &r->registry, false },
	};

	m->transport = SERVICE_AUTO;
	m->prefetch = SERVICE_PREFETCH_BACKGROUND;
	m->registry = &r->registry;
	return take_members(r->json, members, N(members), err);
}

static int take_request(struct control_request *r, struct error **err)
{
	const struct member members[] = {
		{ "version", take_version, NULL, true },
		{ "verb", take_verb, &r->verb, true },
	};
	json_t *version = json_object_get(r->json, "version");
	bool is_mount = word_of(json_object_get(r->json, "verb"), verbs, N(verbs)) == CONTROL_MOUNT;

	if (version && take_version(version, NULL, err) < 0) /* before what it may not know */
		return -1;
	return is_mount ? take_mount(r, err) : take_members(r->json, members, N(members), err);
}

/* jansson gives memory back as it is. */
static void wipe(json_t *v)
{
	if (json_is_string(v))
		explicit_bzero((char *)json_string_value(v), json_string_length(v));
}

void control_request_free(struct control_request *r)
{
	json_t *registry = json_object_get(r->json, "registry");

	wipe(json_object_get(registry, "creds"));
	wipe(json_object_get(registry, "registry-token"));
	json_decref(r->json);
	*r = (struct control_request){ 0 };
}

int control_request_parse(
	struct control_request *r, const char *line, size_t len, struct error **err)
{
	*r = (struct control_request){ .registry = REGISTRY_OPTIONS_DEFAULT };
	if (len > CONTROL_REQUEST_MAX)
		return error_set(err, 0, "a request of more than 64 KiB");
	r->json = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(r->json))
		error_set(err, 0, "a request that is not a JSON object");
	else if (take_request(r, err) == 0)
		return 0;
	control_request_free(r);
	return -1;
}

/* Nothing is put where nothing is said. False: not UTF-8. */
static bool put_text(json_t *object, const char *name, const char *s)
{
	return !s || json_object_set_new(object, name, json_string(s)) == 0;
}

static json_t *registry_as_json(const struct registry_options *o, bool *good)
{
	const struct credentials_options *c = &o->credentials;
	json_t *v = json_pack("{s:b, s:b, s:b, s:I}", "no-creds", c->no_creds, "tls-verify",
		o->tls_verify, "plain-http", o->plain_http, "retry-times", (json_int_t)o->retries);

	*good = put_text(v, "authfile", c->authfile) && put_text(v, "creds", c->creds) &&
		put_text(v, "registry-token", c->registry_token) &&
		put_text(v, "cert-dir", o->cert_dir);
	return v;
}

static bool put_mount(json_t *v, const struct service_request *m)
{
	bool good = true;

	if (m->registry)
		json_object_set_new(v, "registry", registry_as_json(m->registry, &good));
	json_object_set_new(v, "transport", json_string(service_transport_name(m->transport)));
	json_object_set_new(v, "prefetch", json_string(prefetches[m->prefetch]));
	json_object_set_new(v, "strict", json_boolean(m->strict));
	json_object_set_new(v, "writable", json_boolean(m->writable));
	return put_text(v, "image", m->image) && put_text(v, "mountpoint", m->mountpoint) &&
	       put_text(v, "platform", m->platform) && good;
}

char *control_request_format(const struct control_request *r, struct error **err)
{
	CLEANUP_CONTROL_REQUEST struct control_request made = {
		.json = json_pack("{s:i, s:s}", "version", CONTROL_VERSION, "verb", verbs[r->verb])
	};
	CLEANUP_WIPE char *line = NULL;

	if (r->verb == CONTROL_MOUNT && !put_mount(made.json, &r->mount)) {
		error_set(err, 0, "a name or path that is not UTF-8 cannot be told to the daemon");
		return NULL;
	}
	line = json_dumps(made.json, JSON_COMPACT);
	if (!line)
		mem_exhausted();
	if (strlen(line) < CONTROL_REQUEST_MAX)
		return secret_join(line, "\n", "");
	error_set(err, 0, "names and paths of more than 64 KiB cannot be told to the daemon");
	return NULL;
}

/* ---- answers ---- */

json_t *control_mounted(const struct service_answer *a)
{
	char manifest[DIGEST_MAX_STR], bootstrap[DIGEST_MAX_STR];

	return json_pack("{s:i, s:s, s:s, s:s, s:s}", "version", CONTROL_VERSION, "id", a->id,
		"manifest", digest_format(&a->manifest, manifest), "bootstrap",
		digest_format(&a->bootstrap, bootstrap), "transport",
		service_transport_name(a->transport));
}

int control_mounted_parse(struct service_answer *a, const json_t *answer, struct error **err)
{
	const char *id = json_string_value(json_object_get(answer, "id"));
	const char *manifest = json_string_value(json_object_get(answer, "manifest"));
	const char *bootstrap = json_string_value(json_object_get(answer, "bootstrap"));
	const char *transport = json_string_value(json_object_get(answer, "transport"));

	*a = (struct service_answer){ .mount = -1 };
	if (!id || strlen(id) >= sizeof(a->id) || !manifest || !bootstrap || !transport ||
		digest_parse(&a->manifest, manifest, err) < 0 ||
		digest_parse(&a->bootstrap, bootstrap, err) < 0 ||
		service_transport_parse(transport, &a->transport) < 0) {
		error_free(*err);
		*err = NULL;
		return error_set(err, 0, "the daemon's answer is not one of a mount");
	}
	strcpy(a->id, id);
	return 0;
}

json_t *control_error(const struct error *e)
{
	CLEANUP_FREE char *msg = text_printable(e->msg, strlen(e->msg));
	CLEANUP_FREE char *hint = e->hint ? text_printable(e->hint, strlen(e->hint)) : NULL;

	return json_pack(
		"{s:i, s:s, s:s*}", "version", CONTROL_VERSION, "error", msg, "hint", hint);
}

json_t *control_answer_parse(const char *line, size_t len, struct error **err)
{
	json_t *answer = json_loadb(line, len, 0, NULL);
	const char *error = json_string_value(json_object_get(answer, "error"));
	const char *hint = json_string_value(json_object_get(answer, "hint"));

	if (!json_is_object(answer))
		error_set(err, 0, "the daemon's answer is not a JSON object");
	else if (error)
		error_set(err, 0, "%s", error);
	else
		return answer;
	if (hint)
		error_hint(err, "%s", hint);
	json_decref(answer);
	return NULL;
}
