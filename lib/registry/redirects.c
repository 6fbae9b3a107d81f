// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/redirects.h"

#include <string.h>
#include <time.h>

#include "lib/registry/secret.h"
#include "lib/registry/transfer.h"

enum { MARGIN = 5 }; /* seconds that clocks and requests may take */

/* The value of one of the query's pairs, up to an & or the end; NULL: it is not there. */
static const char *query_value(const char *url, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = strchr(url, '?'); p; p = strchr(p + 1, '&'))
		if (strncasecmp(p + 1, name, n) == 0 && p[1 + n] == '=')
			return p + 2 + n;
	return NULL;
}

/* Digits, to the end of the value; -1: it is something else. */
static int64_t number(const char *value)
{
	size_t n = value ? strspn(value, "0123456789") : 0;

	if (!n || n > 15 || (value[n] && value[n] != '&'))
		return -1;
	return strtoll(value, NULL, 10);
}

/* 2026-01-31T12:00:00Z, with its colons escaped or not; -1: it is something else. */
static int64_t date(const char *value)
{
	char text[64];
	struct tm t = { 0 };
	size_t n = 0;

	for (; value && *value && *value != '&' && n < sizeof(text) - 1; value++) {
		bool escaped = strncasecmp(value, "%3a", 3) == 0;

		text[n++] = escaped ? ':' : *value;
		value += escaped ? 2 : 0;
	}
	text[n] = '\0';
	return strptime(text, "%Y-%m-%dT%H:%M:%SZ", &t) ? timegm(&t) : -1;
}

static int64_t least(int64_t a, int64_t b)
{
	return b >= 0 && b < a ? b : a;
}

/* Seconds from the signature on are taken for seconds from now: a refusal is asked about anyway. */
unsigned redirect_lifetime(const char *url, int64_t now)
{
	int64_t at[] = { number(query_value(url, "Expires")), date(query_value(url, "se")) };
	int64_t left = REDIRECT_SECONDS + MARGIN;

	left = least(left, number(query_value(url, "X-Amz-Expires")));
	left = least(left, number(query_value(url, "X-Goog-Expires")));
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++)
		if (at[i] >= 0)
			left = least(left, at[i] > now ? at[i] - now : 0);
	return left > MARGIN ? (unsigned)(left - MARGIN) : 0;
}

static struct redirect *find_locked(const struct redirects *t, const struct digest *digest)
{
	for (size_t i = 0; i < t->n; i++)
		if (digest_equal(&t->kept[i].digest, digest))
			return &t->kept[i];
	return NULL;
}

static void drop_locked(struct redirects *t, struct redirect *r)
{
	size_t behind = (size_t)(t->kept + t->n - (r + 1));

	wipe_free(r->url);
	memmove(r, r + 1, behind * sizeof(*r)); /* they stay in the order of their age */
	t->n--;
}

char *redirects_find(struct redirects *t, const struct digest *digest)
{
	struct redirect *r;
	char *url = NULL;

	pthread_mutex_lock(&t->lock);
	r = find_locked(t, digest);
	if (r && monotonic_ms() < r->until)
		url = xstrdup(r->url);
	else if (r)
		drop_locked(t, r);
	pthread_mutex_unlock(&t->lock);
	return url;
}

void redirects_keep(struct redirects *t, const struct digest *digest, const char *url)
{
	uint64_t seconds = redirect_lifetime(url, (int64_t)time(NULL));
	struct redirect *r;

	if (!seconds || strlen(url) > REDIRECT_LENGTH_MAX)
		return;
	pthread_mutex_lock(&t->lock);
	r = find_locked(t, digest);
	if (!r && t->n == REDIRECTS_KEPT)
		r = t->kept;
	if (r)
		drop_locked(t, r);
	t->kept = xgrow(t->kept, t->n, &t->cap, sizeof(*t->kept));
	t->kept[t->n++] =
		(struct redirect){ *digest, xstrdup(url), monotonic_ms() + seconds * 1000 };
	pthread_mutex_unlock(&t->lock);
}

void redirects_drop(struct redirects *t, const struct digest *digest)
{
	struct redirect *r;

	pthread_mutex_lock(&t->lock);
	if (digest && (r = find_locked(t, digest)))
		drop_locked(t, r);
	while (!digest && t->n)
		drop_locked(t, &t->kept[t->n - 1]);
	pthread_mutex_unlock(&t->lock);
}

void redirects_free(struct redirects *t)
{
	redirects_drop(t, NULL);
	free(t->kept);
	pthread_mutex_destroy(&t->lock);
}
