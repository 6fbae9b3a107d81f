// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"

enum { SHOWN_MAX = 1024 };

static void cleanup_curlu_(CURLU **u)
{
	curl_url_cleanup(*u);
}
#define CLEANUP_CURLU CLEANUP(cleanup_curlu_)

static CURLU *new_url(void)
{
	CURLU *u = curl_url();

	if (!u)
		abort(); /* no memory */
	return u;
}

/* NULL: not there. Freed by free(), not curl_free(). */
static char *part(CURLU *u, CURLUPart what, unsigned flags)
{
	char *s = NULL, *copy;

	if (curl_url_get(u, what, &s, flags) != CURLUE_OK || !s)
		return NULL;
	copy = xstrdup(s);
	curl_free(s);
	return copy;
}

static CURLU *parsed(const char *url)
{
	CURLU *u = new_url();

	if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK)
		return u;
	curl_url_cleanup(u);
	return NULL;
}

/* Why it is not to be followed, or NULL. */
static const char *fault_of(CURLU *u)
{
	CLEANUP_FREE char *scheme = part(u, CURLUPART_SCHEME, 0);
	CLEANUP_FREE char *user = part(u, CURLUPART_USER, 0);
	CLEANUP_FREE char *password = part(u, CURLUPART_PASSWORD, 0);
	CLEANUP_FREE char *host = part(u, CURLUPART_HOST, 0);

	if (!scheme || (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0))
		return "its scheme is not http or https";
	if (user || password)
		return "it names a user";
	return host && *host ? NULL : "it has no host";
}

char *url_resolve(const char *base, const char *location, struct error **err)
{
	CLEANUP_CURLU CURLU *u = new_url();
	const char *fault = "it is not a URL";
	char *whole = NULL;

	if ((!base || curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK) &&
		curl_url_set(u, CURLUPART_URL, location, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
		!(fault = fault_of(u))) {
		curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
		whole = part(u, CURLUPART_URL, 0);
		fault = "it is not a URL";
	}
	if (!whole) {
		CLEANUP_FREE char *shown = url_shown(location);

		error_set(err, 0, "the server names the address %s: %s", shown, fault);
	}
	return whole;
}

char *url_add_query(const char *url, const char *name, const char *value)
{
	char *escaped = curl_easy_escape(NULL, value, 0), *longer;

	if (!escaped)
		abort(); /* no memory */
	longer = xasprintf("%s%c%s=%s", url, strchr(url, '?') ? '&' : '?', name, escaped);
	curl_free(escaped);
	return longer;
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart what)
{
	CLEANUP_FREE char *x = part(a, what, CURLU_DEFAULT_PORT);
	CLEANUP_FREE char *y = part(b, what, CURLU_DEFAULT_PORT);

	return x && y && strcasecmp(x, y) == 0;
}

bool url_same_origin(const char *a, const char *b)
{
	CLEANUP_CURLU CURLU *x = parsed(a), *y = parsed(b);

	return x && y && same_part(x, y, CURLUPART_SCHEME) && same_part(x, y, CURLUPART_HOST) &&
	       same_part(x, y, CURLUPART_PORT);
}

bool url_is_https(const char *url)
{
	return strncasecmp(url, "https://", 8) == 0;
}

bool url_is_loopback(const char *url)
{
	CLEANUP_CURLU CURLU *u = parsed(url);
	CLEANUP_FREE char *host = u ? part(u, CURLUPART_HOST, 0) : NULL;
	struct in_addr v4;

	if (!host)
		return false;
	if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
		return true;
	return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

char *url_shown(const char *url)
{
	size_t len = strcspn(url, "?#");
	const char *authority = strstr(url, "://");
	size_t scheme = authority ? (size_t)(authority - url) + 3 : 0, skip = scheme;

	/* a password may stand before an @ */
	for (size_t i = skip; i < len && url[i] != '/'; i++)
		if (url[i] == '@')
			skip = i + 1;
	if (skip < len && skip > scheme) {
		CLEANUP_FREE char *rest =
			text_printable(url + skip, len - skip < SHOWN_MAX ? len - skip : SHOWN_MAX);
		CLEANUP_FREE char *front = text_printable(url, scheme < 16 ? scheme : 16);

		return xasprintf("%s***@%s", front, rest);
	}
	return text_printable(url, len < SHOWN_MAX ? len : SHOWN_MAX);
}

bool url_is_host(const char *host)
{
	CLEANUP_FREE char *url = xasprintf("https://%s/", host);
	CLEANUP_CURLU CURLU *u = NULL;
	CLEANUP_FREE char *path = NULL;

	if (!*host || host[strcspn(host, "/?#@\\ ")])
		return false;
	u = parsed(url);
	path = u ? part(u, CURLUPART_PATH, 0) : NULL;
	return path && strcmp(path, "/") == 0 && !fault_of(u);
}
