// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What the registry asked for last is remembered, with a token for each set of scopes. One thread
 * at a time fetches a token; the others wait, and find it.
 */
#include "config.h"

#include "lib/registry/auth.h"

#include <openssl/evp.h>
#include <string.h>
#include <time.h>

#include "fmt/www_authenticate.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/registry/part.h"
#include "lib/registry/secret.h"
#include "lib/registry/token.h"
#include "lib/registry/transfer.h"

enum {
	TOKENS_MAX = 16,
	RENEW_MS = 5000, /* tokens fetched together take the same credentials */
	USELESS_MS = 2000, /* until what was refused is looked for again */
};

struct kept_token {
	char *from; /* NULL: for the repository alone */
	char *value;
	uint64_t expires; /* monotonic milliseconds */
};

struct auth {
	struct registry *r;
	pthread_mutex_t lock;
	bool looked; /* for credentials */
	uint64_t renew_after, useless_until; /* monotonic milliseconds: when to look again */
	_Atomic bool has_any; /* and found some; read without the lock */
	struct credentials credentials;
	enum auth_scheme scheme; /* AUTH_UNKNOWN: nothing has been asked for */
	char *realm, *service, *scope; /* of Bearer; the scope is what the registry named */
	struct kept_token tokens[TOKENS_MAX];
	size_t n_tokens;
};

struct auth *auth_new(struct registry *r)
{
	struct auth *a = xzalloc(sizeof(*a));

	a->r = r;
	pthread_mutex_init(&a->lock, NULL);
	return a;
}

static void forget_tokens(struct auth *a)
{
	for (size_t i = 0; i < a->n_tokens; i++) {
		free(a->tokens[i].from);
		wipe_free(a->tokens[i].value);
	}
	a->n_tokens = 0;
}

void auth_free(struct auth *a)
{
	if (!a)
		return;
	forget_tokens(a);
	credentials_free(&a->credentials);
	free(a->realm);
	free(a->service);
	free(a->scope);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

void auth_line_free(char *line)
{
	wipe_free(line);
}

static bool has_some(const struct credentials *c)
{
	return c->user || c->identity_token || c->registry_token;
}

/* Only when somebody asks for them; a token that was given is used unasked. */
static int look(struct auth *a, struct error **err)
{
	struct registry *r = a->r;

	if (a->looked)
		return 0;
	if (credentials_find(&a->credentials, &r->o.credentials, r->host, r->name, err) < 0)
		return error_wrap(err, "registry %s", r->host);
	a->looked = true;
	a->renew_after = monotonic_ms() + RENEW_MS;
	a->has_any = has_some(&a->credentials);
	return 0;
}

/*
 * Files change while a daemon runs: passwords that last for hours are renewed there. When there is
 * nothing to be read any more, what we have may still be good; the registry decides. Are they
 * others?
 */
static bool look_again(struct auth *a)
{
	struct registry *r = a->r;
	CLEANUP_CREDENTIALS struct credentials now = { 0 };
	CLEANUP_ERROR struct error *e = NULL;
	bool same;

	if (!credentials_may_change(&a->credentials, &r->o.credentials))
		return false;
	if (credentials_find(&now, &r->o.credentials, r->host, r->name, &e) < 0) {
		log_warn("%s; those read before are used", e->msg);
		a->useless_until = monotonic_ms() + USELESS_MS;
		return false;
	}
	same = credentials_equal(&now, &a->credentials);
	a->useless_until = same ? monotonic_ms() + USELESS_MS : 0;
	a->renew_after = monotonic_ms() + RENEW_MS;
	a->has_any = has_some(&now);
	credentials_free(&a->credentials);
	a->credentials = now;
	now = (struct credentials){ 0 };
	if (!same)
		log_debug("registry %s: new credentials", r->host);
	return !same;
}

/* They were refused. Not for each of many requests that fail. Are there others now? */
static bool look_after_refusal(struct auth *a)
{
	if (monotonic_ms() < a->useless_until)
		return false;
	return look_again(a);
}

bool auth_has_credentials(const struct auth *a)
{
	return a->has_any;
}

char *auth_basic_line(const struct credentials *c)
{
	CLEANUP_WIPE char *pair = xasprintf("%s:%s", c->user, c->password ? c->password : "");
	size_t len = strlen(pair);
	CLEANUP_WIPE char *encoded = xmalloc(len / 3 * 4 + 5);

	EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)pair, (int)len);
	return xasprintf("Authorization: Basic %s", encoded);
}

static bool same_from(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static struct kept_token *find_token(struct auth *a, const char *from)
{
	for (size_t i = 0; i < a->n_tokens; i++)
		if (same_from(a->tokens[i].from, from))
			return &a->tokens[i];
	return NULL;
}

static void drop_token(struct auth *a, struct kept_token *t)
{
	free(t->from);
	wipe_free(t->value);
	*t = a->tokens[--a->n_tokens];
}

/* Is all of that scope within our own, whatever the order of its actions? Some token servers read
 * one scope only. */
static bool covers(const char *own, const char *scope)
{
	const char *actions = strrchr(own, ':') + 1, *p;
	size_t n = (size_t)(actions - own), len;

	if (strncmp(scope, own, n) != 0)
		return false;
	for (p = scope + n; *p; p += len + (p[len] == ',')) {
		len = strcspn(p, ",");
		if (len != strlen("pull") || !memmem(actions, strlen(actions), p, len))
			return false;
	}
	return true;
}

/* What the token server refuses may be other by now: once more then. */
static char *ask_for_token(
	struct auth *a, const struct token_query *q, uint64_t *expires, struct error **err)
{
	CLEANUP_ERROR struct error *first = NULL;
	char *token = token_fetch(a->r, q, expires, &first);

	if (token)
		return token;
	if (*q->refused && look_after_refusal(a))
		return token_fetch(a->r, q, expires, err);
	*err = take_ptr(first);
	return NULL;
}

static int fetch_token(
	struct auth *a, const char *from, struct http_control *control, struct error **err)
{
	bool push = a->r->access == REGISTRY_PUSH;
	CLEANUP_FREE char *own = xasprintf("repository:%s:pull%s", a->r->name, push ? ",push" : "");
	CLEANUP_FREE char *other = from ? xasprintf("repository:%s:pull", from) : NULL;
	bool refused = false;
	struct token_query q = { a->realm, a->service, { own }, 1, &a->credentials, control,
		&refused };
	struct kept_token t = { 0 };

	if (monotonic_ms() >= a->renew_after)
		look_again(a);
	if (from)
		q.scopes[q.n_scopes++] = other;
	/* what the registry wants may be more than we thought of */
	if (*a->scope && !covers(own, a->scope) && !(from && covers(other, a->scope)))
		q.scopes[q.n_scopes++] = a->scope;
	t.value = ask_for_token(a, &q, &t.expires, err);
	if (!t.value)
		return -1;
	if (a->n_tokens == TOKENS_MAX)
		drop_token(a, &a->tokens[0]);
	t.from = from ? xstrdup(from) : NULL;
	a->tokens[a->n_tokens++] = t;
	return 0;
}

/* What is sent as it is, without a token; NULL: nothing. Freed by auth_line_free(). */
static char *lasting_line(const struct credentials *c)
{
	if (c->registry_token)
		return xasprintf("Authorization: Bearer %s", c->registry_token);
	return c->user ? auth_basic_line(c) : NULL;
}

static int bearer_line(struct auth *a, const char *from, struct http_control *control, char **line,
	struct error **err)
{
	struct kept_token *t = find_token(a, from);

	if (a->credentials.registry_token) {
		*line = lasting_line(&a->credentials);
		return 0;
	}
	if (t && monotonic_ms() >= t->expires) {
		drop_token(a, t);
		t = NULL;
	}
	if (!t && fetch_token(a, from, control, err) < 0)
		return -1;
	*line = xasprintf("Authorization: Bearer %s", find_token(a, from)->value);
	return 0;
}

static int line_locked(struct auth *a, const char *from, struct http_control *control, char **line,
	struct error **err)
{
	if (a->scheme == AUTH_UNKNOWN && !a->r->o.credentials.registry_token)
		return 0;
	if (look(a, err) < 0)
		return -1;
	if (a->scheme == AUTH_BEARER)
		return bearer_line(a, from, control, line, err);
	*line = lasting_line(&a->credentials);
	return 0;
}

/* Whoever has it may be waiting for a token server; those who are cancelled do not. */
static int lock(struct auth *a, const struct http_control *control, struct error **err)
{
	struct timespec t;

	for (;;) {
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += 200 * 1000000;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		if (pthread_mutex_timedlock(&a->lock, &t) == 0)
			return 0;
		if (interrupt_pending() || control->cancel)
			return error_set(err, 0, "cancelled");
	}
}

int auth_line(struct auth *a, const char *from, struct http_control *control, char **line,
	struct error **err)
{
	int rc;

	if (lock(a, control, err) < 0)
		return -1;
	rc = line_locked(a, from, control, line, err);
	pthread_mutex_unlock(&a->lock);
	return rc;
}

static void take_challenge(struct auth *a, const struct auth_challenge *c)
{
	a->scheme = c->scheme;
	free(a->realm);
	free(a->service);
	free(a->scope);
	a->realm = xstrdup(c->realm);
	a->service = xstrdup(c->service);
	a->scope = xstrdup(c->scope);
}

/* Bearer before Basic; the first of its kind. A header that cannot be read is left alone. */
static bool choose_challenge(const struct http_answer *answer, struct auth_challenge *best)
{
	CLEANUP_FREE struct auth_challenge *c = xmalloc(sizeof(*c));
	const char *value;

	*best = (struct auth_challenge){ .scheme = AUTH_UNKNOWN };
	for (size_t n = 0; (value = http_header(answer, "WWW-Authenticate", n)); n++) {
		while (auth_challenge_next(&value, c) == 1) {
			bool good =
				c->scheme == AUTH_BASIC || (c->scheme == AUTH_BEARER && *c->realm);

			if (good && c->scheme > best->scheme)
				*best = *c;
		}
	}
	return best->scheme != AUTH_UNKNOWN;
}

/* Has another thread logged in since the request was sent? */
static bool is_outdated(struct auth *a, const char *from, const char *line)
{
	const struct kept_token *t = find_token(a, from);
	const char *sent = line ? strstr(line, "Bearer ") : NULL;

	if (a->scheme != AUTH_BEARER || !t)
		return false;
	return !sent || strcmp(sent + strlen("Bearer "), t->value) != 0;
}

static int denied_locked(struct auth *a, const char *from, const char *line,
	const struct http_answer *answer, struct error **err)
{
	CLEANUP_FREE struct auth_challenge *c = xmalloc(sizeof(*c));
	CLEANUP_WIPE char *lasting = NULL;
	struct kept_token *t;

	if (look(a, err) < 0)
		return -1;
	if (is_outdated(a, from, line))
		return 1;
	if ((t = find_token(a, from)))
		drop_token(a, t);
	if (!choose_challenge(answer, c))
		return 0;
	take_challenge(a, c);
	if (line)
		look_after_refusal(a);
	if (a->scheme == AUTH_BEARER && !a->credentials.registry_token)
		return 1;
	lasting = lasting_line(&a->credentials);
	return lasting && (!line || strcmp(line, lasting) != 0);
}

int auth_denied(struct auth *a, const char *from, const char *line,
	const struct http_answer *answer, const struct http_control *control, struct error **err)
{
	int rc;

	if (lock(a, control, err) < 0)
		return -1;
	rc = denied_locked(a, from, line, answer, err);
	pthread_mutex_unlock(&a->lock);
	return rc;
}
