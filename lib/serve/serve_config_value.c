// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/serve_config_value.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fmt/cachefiles.h"
#include "fmt/reference.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/registry/url.h"

enum { TEXT_MAX = PATH_MAX - 1 };

/* NULL with an error. jansson takes no NUL into a string unless it is asked to. */
static const char *text_of(const json_t *v, struct error **err)
{
	if (!json_is_string(v))
		error_set(err, 0, "not a string");
	else if (json_string_length(v) > TEXT_MAX)
		error_set(err, 0, "longer than %d bytes", TEXT_MAX);
	else
		return json_string_value(v);
	return NULL;
}

/* "WHAT: SHOWN" as the error. */
static int refuse(const char *text, const char *what, struct error **err)
{
	CLEANUP_FREE char *shown = text_shown(text);

	return error_set(err, 0, "\"%s\" %s", shown, what);
}

int config_take_bool(const json_t *v, void *out, struct error **err)
{
	if (!json_is_boolean(v))
		return error_set(err, 0, "not true or false");
	*(bool *)out = json_is_true(v);
	return 0;
}

int config_take_choice(const json_t *v, void *out, struct error **err)
{
	bool yes = false;

	if (config_take_bool(v, &yes, err) < 0)
		return -1;
	*(int *)out = yes;
	return 0;
}

int config_take_path(const json_t *v, void *out, struct error **err)
{
	const char *text = text_of(v, err);

	if (!text)
		return -1;
	if (*text != '/')
		return refuse(text, "is not an absolute path", err);
	*(char **)out = xstrdup(text);
	return 0;
}

int config_take_transport(const json_t *v, void *out, struct error **err)
{
	static const char *const names[] = { "auto", "fanotify", "fuse-device", "cachefiles",
		"fuse" };
	const char *text = text_of(v, err);

	if (!text)
		return -1;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(names[i], text) != 0)
			continue;
		*(char **)out = xstrdup(text);
		return 0;
	}
	return refuse(text, "is none of auto, fanotify, fuse-device, cachefiles and fuse", err);
}

/* ---- sizes ---- */

int config_take_size(const json_t *v, void *out, struct error **err)
{
	static const char suffixes[] = "KMG";
	const char *text = json_string_value(v), *suffix;
	unsigned long long n;
	unsigned shift = 0;
	char *end;

	if (json_is_integer(v) && json_integer_value(v) > 0) {
		*(uint64_t *)out = (uint64_t)json_integer_value(v);
		return 0;
	}
	if (!text || *text < '1' || *text > '9')
		return error_set(err, 0, "not a number of bytes, nor text such as \"20G\"");
	errno = 0;
	n = strtoull(text, &end, 10);
	if (*end && (suffix = strchr(suffixes, *end))) {
		shift = 10 * (unsigned)(suffix - suffixes + 1);
		end++;
	}
	if (*end || errno || n > UINT64_MAX >> shift)
		return error_set(err, 0, "not a number of bytes, nor text such as \"20G\"");
	*(uint64_t *)out = (uint64_t)n << shift;
	return 0;
}

/* ---- of the kernel's cache ---- */

int config_take_percent(const json_t *v, void *out, struct error **err)
{
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 99)
		return error_set(err, 0, "not a whole number from 0 to 99");
	*(unsigned *)out = (unsigned)json_integer_value(v);
	return 0;
}

int config_take_tag(const json_t *v, void *out, struct error **err)
{
	const char *text = text_of(v, err);
	struct cachefiles_command command;
	struct fault fault;

	if (!text)
		return -1;
	if (cachefiles_put_tag(&command, text, &fault) < 0)
		return refuse(text, "cannot be the name of a cache", err);
	*(char **)out = xstrdup(text);
	return 0;
}

/* ---- hosts ---- */

/* What stands behind the colon of a host's name or address, or NULL. */
static const char *port_of(const char *host)
{
	const char *bracket = strrchr(host, ']'), *colon = strrchr(host, ':');

	return colon && (!bracket || colon > bracket) ? colon + 1 : NULL;
}

static bool port_is_valid(const char *port)
{
	size_t len = strlen(port);

	return len && len <= 5 && strspn(port, "0123456789") == len && *port != '0' &&
	       atoi(port) <= 65535;
}

/*
 * Is it HOST[:PORT] in the grammar of references? There a name of one part is a host only with a
 * port, so it gets one.
 */
static bool host_is_valid(const char *host)
{
	const char *port = port_of(host);
	CLEANUP_FREE char *name = xasprintf("%s%s/x", host, port ? "" : ":1");
	struct reference r;
	struct fault fault;

	return (!port || port_is_valid(port)) && reference_parse(&r, name, &fault) == 0 &&
	       r.path.len == 1 && !r.tag.ptr && !r.digest.ptr && url_is_host(host);
}

int config_take_host(const json_t *v, void *out, struct error **err)
{
	const char *text = text_of(v, err);

	if (!text)
		return -1;
	if (!host_is_valid(text))
		return refuse(text, "is not HOST[:PORT]", err);
	*(char **)out = xstrdup(text);
	return 0;
}

int config_take_address(const json_t *v, void *out, struct error **err)
{
	const char *text = text_of(v, err);

	if (!text)
		return -1;
	if (*text != '/' && (!host_is_valid(text) || !port_of(text)))
		return refuse(text, "is neither /PATH nor HOST:PORT", err);
	*(char **)out = xstrdup(text);
	return 0;
}

char *config_registry_host(const char *name, struct error **err)
{
	CLEANUP_FREE char *image = xasprintf("%s/x", name);
	struct reference r;
	struct fault fault;

	if (!host_is_valid(name) || reference_parse(&r, image, &fault) < 0 || r.path.len != 1) {
		error_set(err, 0, "not the host of a registry, as it stands in names of images");
		return NULL;
	}
	return xstrndup(r.host.ptr, r.host.len);
}

int config_take_prefix(const json_t *v, void *out, struct error **err)
{
	const char *text = text_of(v, err);
	CLEANUP_FREE char *name = xasprintf("h:1/%sx", text ? text : "");
	struct reference r;
	struct fault fault;

	if (!text)
		return -1;
	if (*text && (text[strlen(text) - 1] != '/' || reference_parse(&r, name, &fault) < 0 ||
			     r.path.len != strlen(text) + 1))
		return refuse(text,
			"is not the beginning of a repository's name, with a / at its end", err);
	*(char **)out = xstrdup(text);
	return 0;
}

int config_take_url(const json_t *v, void *out, struct error **err)
{
	const char *text = text_of(v, err);
	CLEANUP_ERROR struct error *why = NULL;
	CLEANUP_FREE char *shown = text ? url_shown(text) : NULL;
	CLEANUP_FREE char *url = text ? url_resolve(NULL, text, &why) : NULL;

	if (!text)
		return -1;
	if (!url || text[strcspn(text, "?#")])
		return error_set(err, 0,
			"\"%s\" is not a URL of http or https without user, query and fragment",
			shown);
	*(char **)out = take_ptr(url);
	return 0;
}
