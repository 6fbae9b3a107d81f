// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/token.h"

#include <curl/curl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>
#include <time.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/registry/part.h"
#include "lib/registry/retry.h"
#include "lib/registry/secret.h"
#include "lib/registry/transfer.h"
#include "lib/registry/url.h"

enum {
	LIFETIME = 60, /* seconds, when the server says nothing */
	LIFETIME_MIN = 10, /* clocks differ; asking each time would not help */
	LIFETIME_MAX = 24 * 3600,
	TOKEN_MAX = 256 * 1024,
	REDIRECTS_MAX = 5,
};

/* It becomes a line of a header. */
static bool is_token(const char *s)
{
	size_t len = strlen(s);

	for (size_t i = 0; i < len; i++)
		if (s[i] <= ' ' || s[i] > '~')
			return false;
	return len && len < TOKEN_MAX;
}

/* RFC 3339, as Go writes it; the fraction does not matter. -1: not readable. */
static int64_t wall_time(const char *s)
{
	struct tm tm = { 0 };
	const char *end = s ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	int hours = 0, minutes = 0;
	int64_t t;

	if (!end)
		return -1;
	t = timegm(&tm);
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	if ((*end == '+' || *end == '-') && sscanf(end + 1, "%2d:%2d", &hours, &minutes) == 2)
		t -= (*end == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
	return t;
}

static uint64_t lifetime_of(const json_t *root, int64_t now)
{
	const json_t *in = json_object_get(root, "expires_in");
	int64_t issued = wall_time(json_string_value(json_object_get(root, "issued_at")));
	double stated = json_is_number(in) ? json_number_value(in) : LIFETIME;
	int64_t left = stated > LIFETIME_MAX ? LIFETIME_MAX
		       : stated < 1	     ? LIFETIME
					     : (int64_t)stated;

	if (issued > 0 && issued < now)
		left = now - issued < left ? left - (now - issued) : 0;
	return left < LIFETIME_MIN ? LIFETIME_MIN : (uint64_t)left;
}

char *token_parse(
	const char *bytes, size_t size, int64_t now, uint64_t *lifetime, struct error **err)
{
	json_auto_t *root = json_loadb(bytes ? bytes : "", size, 0, NULL);
	const char *token = json_string_value(json_object_get(root, "token"));

	if (!token || !*token)
		token = json_string_value(json_object_get(root, "access_token"));
	if (!token || !is_token(token)) {
		error_set(err, 0, "the answer has no token");
		return NULL;
	}
	*lifetime = lifetime_of(root, now);
	return xstrdup(token);
}

/* A password goes where nobody listens in, or where the user has said that it may. */
static int check_realm(const struct registry *r, const char *realm, const struct credentials *c,
	struct error **err)
{
	if (url_is_https(realm) || url_is_loopback(realm) || r->o.plain_http || !r->o.tls_verify ||
		(!c->user && !c->identity_token))
		return 0;
	error_set(err, 0, "the registry wants the password to be sent there, unencrypted");
	return error_hint(err, "--plain-http allows it; --no-creds asks without a password");
}

static char *get_url(const struct token_query *q)
{
	char *url = xstrdup(q->realm);

	for (size_t i = 0; i < q->n_scopes + 2; i++) {
		const char *name = i == 0 ? "account" : i == 1 ? "service" : "scope";
		const char *value = i == 0   ? q->credentials->user
				    : i == 1 ? q->service
					     : q->scopes[i - 2];
		char *longer = value && *value ? url_add_query(url, name, value) : NULL;

		if (longer) {
			free(url);
			url = longer;
		}
	}
	return url;
}

static void add_field(char **form, const char *name, const char *value)
{
	char *escaped = curl_easy_escape(NULL, value, 0);
	char *longer = xasprintf(
		"%s%s%s=%s", *form ? *form : "", *form ? "&" : "", name, escaped ? escaped : "");

	if (escaped)
		OPENSSL_cleanse(escaped, strlen(escaped));
	curl_free(escaped);
	wipe_free(*form);
	*form = longer;
}

/* OAuth2 (RFC 6749, 6), as the token specification has it. */
static char *refresh_form(const struct token_query *q)
{
	CLEANUP_FREE char *scopes = xstrdup(q->scopes[0]);
	char *form = NULL;

	for (size_t i = 1; i < q->n_scopes; i++) {
		char *more = xasprintf("%s %s", scopes, q->scopes[i]);

		free(scopes);
		scopes = more;
	}
	add_field(&form, "grant_type", "refresh_token");
	add_field(&form, "service", q->service);
	add_field(&form, "client_id", "erofs-convert");
	add_field(&form, "scope", scopes);
	add_field(&form, "refresh_token", q->credentials->identity_token);
	return form;
}

static char *basic(const struct credentials *c)
{
	return c->user && !c->identity_token ? auth_basic_line(c) : NULL;
}

/* The token server has moved. A password stays with the host that the registry named. */
static int follow(struct registry *r, struct http_request *h, const struct http_answer *a,
	char **url, struct error **err)
{
	const struct reply p = { .answer = *a, .url = *url };
	char *next = reply_location(r, &p, err);

	if (!next)
		return registry_wrap(r, h->method, *url, err);
	if (!url_same_origin(*url, next))
		h->headers = NULL;
	h->client_cert = registry_is_at(r, next);
	free(*url);
	h->url = *url = next;
	return 0;
}

/* A refresh token that is good no more is 400 by RFC 6749, 5.2. */
static bool is_refusal(const struct http_request *h, const struct http_answer *a)
{
	if (a->end != HTTP_DONE && a->end != HTTP_STOPPED)
		return false;
	return a->status == 401 || a->status == 403 || (h->body && a->status == 400);
}

/* Try until there is an answer that another try would not better. */
static int ask(struct registry *r, const struct token_query *q, struct http_request *h,
	struct http_answer *a, char **url, struct error **err)
{
	struct retry retry = { .most = r->o.retries, .control = q->control };
	unsigned redirects = 0;

	for (;;) {
		CLEANUP_ERROR struct error *e = NULL;

		http_answer_free(a);
		if (h->body)
			h->body->at = 0;
		perform_patiently(r, !registry_is_at(r, h->url), h, a);
		if (a->end == HTTP_DONE && a->status == 200)
			return 0;
		if (!h->body && answer_is_redirect(a) && redirects++ < REDIRECTS_MAX) {
			if (follow(r, h, a, url, err) < 0)
				return -1;
			continue;
		}
		reply_error(r, h->method, h->url, a, &e);
		if (!retry_worthwhile(&retry, a) || !retry_wait(&retry, a, e->msg)) {
			if (interrupt_pending())
				return error_set(err, 0, "interrupted");
			*q->refused = is_refusal(h, a);
			*err = take_ptr(e);
			return -1;
		}
	}
}

static char *answered(struct registry *r, const struct http_request *h, struct http_answer *a,
	uint64_t *expires, struct error **err)
{
	uint64_t lifetime;
	char *token = token_parse(a->body, a->size, time(NULL), &lifetime, err);

	if (a->body)
		OPENSSL_cleanse(a->body, a->size);
	if (!token) {
		registry_wrap(r, h->method, h->url, err);
		return NULL;
	}
	/* a fifth early, for requests that are on their way */
	*expires = monotonic_ms() + lifetime * 800;
	return token;
}

char *token_fetch(
	struct registry *r, const struct token_query *q, uint64_t *expires, struct error **err)
{
	CLEANUP_HTTP_ANSWER struct http_answer a = { 0 };
	CLEANUP_FREE char *realm = url_resolve(NULL, q->realm, err);
	bool post = q->credentials->identity_token != NULL;
	CLEANUP_FREE char *url = realm && !post ? get_url(q) : NULL;
	CLEANUP_WIPE char *form = post ? refresh_form(q) : NULL;
	CLEANUP_WIPE char *line = basic(q->credentials);
	char *headers[] = { line, NULL };
	char *form_headers[] = { (char *)"Content-Type: application/x-www-form-urlencoded", NULL };
	struct http_body body = { .bytes = form, .size = form ? strlen(form) : 0 };
	struct http_request h = {
		.method = post ? "POST" : "GET",
		.url = post ? realm : url,
		.headers = post ? form_headers : headers,
		.tls = r->tls,
		.client_cert = realm && registry_is_at(r, realm),
		.body = post ? &body : NULL,
		.answer_max = ANSWER_MAX,
		.control = q->control,
	};

	if (!realm || check_realm(r, realm, q->credentials, err) < 0) {
		registry_wrap(r, h.method, q->realm, err);
		return NULL;
	}
	if (ask(r, q, &h, &a, &url, err) < 0)
		return NULL;
	return answered(r, &h, &a, expires, err);
}
