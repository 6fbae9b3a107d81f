// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Sentences about answers. */
#include "config.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/registry/part.h"
#include "lib/registry/retry.h"
#include "lib/registry/url.h"

enum { MESSAGE_MAX = 300, JSON_MAX = 64 * 1024 };

int registry_wrap(const struct registry *r, const char *method, const char *url, struct error **err)
{
	CLEANUP_FREE char *shown = url_shown(url);

	return error_wrap(
		err, "%s %s: %s %s", r->name ? "registry" : "server", r->host, method, shown);
}

static char *shown(const char *s)
{
	return text_printable(s, strnlen(s, MESSAGE_MAX));
}

static const char *string_of(const json_t *object, const char *name)
{
	const char *s = json_string_value(json_object_get(object, name));

	return s && *s ? s : NULL;
}

/* {"errors":[{"code","message"}]}, or what token servers say. */
static char *json_message(const json_t *root)
{
	static const char *const others[] = { "details", "error_description", "message", "error" };
	const json_t *first = json_array_get(json_object_get(root, "errors"), 0);
	const char *code = string_of(first, "code"), *message = string_of(first, "message");

	if (code && message) {
		CLEANUP_FREE char *both = xasprintf("%s: %.*s", code, MESSAGE_MAX, message);

		return shown(both);
	}
	if (code || message)
		return shown(code ? code : message);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		if (string_of(root, others[i]))
			return shown(string_of(root, others[i]));
	return NULL;
}

/* Of a page of HTML the title: proxies have the reason there, often behind the status. */
static char *page_title(const struct http_answer *a)
{
	static const char begin[] = "<title>";
	const char *title = strcasestr(a->body, begin), *behind;
	size_t len;
	char *end;

	if (!title)
		return NULL;
	title += sizeof(begin) - 1;
	if (strtol(title, &end, 10) == a->status && *end == ' ')
		title = end + 1;
	behind = strchr(title, '<');
	if (!behind || behind == title)
		return NULL;
	len = (size_t)(behind - title);
	return text_printable(title, len < MESSAGE_MAX ? len : MESSAGE_MAX);
}

/* The first line of a text. */
static char *text_message(const struct http_answer *a)
{
	const char *body = a->body;
	size_t skip = strspn(body, " \t\r\n"), len = strcspn(body + skip, "\r\n");

	if (body[skip] == '<')
		return page_title(a);
	if (!len || body[skip] == '{')
		return NULL;
	return text_printable(body + skip, len < MESSAGE_MAX ? len : MESSAGE_MAX);
}

char *answer_message(const struct http_answer *a)
{
	json_auto_t *root = NULL;
	char *message;

	if (!a->body || !a->size)
		return NULL;
	root = json_loadb(
		a->body, a->size < JSON_MAX ? a->size : JSON_MAX, JSON_DISABLE_EOF_CHECK, NULL);
	message = json_is_object(root) ? json_message(root) : text_message(a);
	if (message && strlen(message) > MESSAGE_MAX)
		message[MESSAGE_MAX] = '\0'; /* octal forms have made it longer */
	return message;
}

static void hint_status(const struct registry *r, const struct http_answer *a, struct error **err)
{
	if (!r->auth)
		return;
	switch (a->status) {
	case 401:
	case 403:
		if (auth_has_credentials(r->auth))
			error_hint(err,
				"the credentials may be wrong or may not suffice for %s: skopeo "
				"login %s, "
				"or --creds USER, or --authfile FILE",
				r->name, r->host);
		else
			error_hint(err,
				"log in with: skopeo login %s; or give --creds USER or --authfile "
				"FILE",
				r->host);
		break;
	case 404:
		error_hint(err,
			"check the name, the tag, and whether it may be read without logging in");
		break;
	case 429:
		error_hint(err, "try again later, or log in with: skopeo login %s", r->host);
		break;
	default:
		break;
	}
}

static void hint_redirect(const struct http_answer *a, struct error **err)
{
	const char *location = http_header(a, "Location", 0);
	CLEANUP_FREE char *to = location ? url_shown(location) : NULL;

	if (to)
		error_hint(err,
			"it leads to %s, and not by 307 or 308, which could be followed: name that "
			"server",
			to);
}

static int status_error(const struct registry *r, const struct http_answer *a, struct error **err)
{
	CLEANUP_FREE char *message = answer_message(a);

	if (message)
		error_set(err, 0, "%ld: %s", a->status, message);
	else
		error_set(err, 0, "%ld", a->status);
	if (a->status == 404)
		(*err)->code = ENOENT;
	if (answer_is_redirect(a))
		hint_redirect(a, err);
	else
		hint_status(r, a, err);
	return -1;
}

int reply_error(const struct registry *r, const char *method, const char *url,
	const struct http_answer *a, struct error **err)
{
	if (a->end == HTTP_INTERRUPTED || a->end == HTTP_CANCELLED)
		return error_set(err, 0, "%s", a->why);
	if (a->end == HTTP_DONE || a->end == HTTP_STOPPED)
		status_error(r, a, err);
	else
		error_set(err, 0, "%s", a->why ? a->why : "no answer");
	if (retry_is_transient(a))
		(*err)->code = EAGAIN;
	if (a->end == HTTP_NO_TLS)
		error_hint(err, "it may speak HTTP only: --plain-http");
	if (a->end == HTTP_BAD && a->why && strstr(a->why, "alert certificate"))
		error_hint(err, "give yours with --cert-dir: NAME.cert and NAME.key");
	if (a->end == HTTP_UNTRUSTED)
		error_hint(err,
			"give the certificate of its authority with --cert-dir, or do without: "
			"--tls-verify=false");
	return registry_wrap(r, method, url, err);
}

int check_stated_digest(
	const struct http_answer *a, const struct digest *digest, struct error **err)
{
	const char *stated = http_header(a, "Docker-Content-Digest", 0);
	CLEANUP_ERROR struct error *ignored = NULL;
	char want[DIGEST_MAX_STR], got[DIGEST_MAX_STR];
	struct digest d;

	if (!stated || digest_parse(&d, stated, &ignored) < 0 || d.algo != digest->algo ||
		digest_equal(&d, digest))
		return 0;
	return error_set(err, 0, "the registry says that it has %s, not %s", digest_format(&d, got),
		digest_format(digest, want));
}

void reply_free(struct reply *p)
{
	http_answer_free(&p->answer);
	free(p->url);
	free(p->asked);
	*p = (struct reply){ 0 };
}
