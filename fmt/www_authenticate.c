// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The one difficulty of the grammar is that commas part both the challenges and the parameters of
 * one: what follows a comma is a parameter when it is a name and "=", and else the next challenge.
 */
#include "config.h"

#include "fmt/www_authenticate.h"

#include <string.h>
#include <strings.h>

#define ALPHANUMERIC "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define TOKEN	     ALPHANUMERIC "!#$%&'*+-.^_`|~"
#define TOKEN68	     ALPHANUMERIC "-._~+/"
#define BLANK	     " \t"

static const char *skip(const char *p, const char *set)
{
	return p + strspn(p, set);
}

/* A character that a quoted string may hold, as it is or behind a backslash. */
static bool is_text(char c)
{
	return c == '\t' || ((unsigned char)c >= ' ' && c != 0x7f);
}

struct value {
	char *to; /* AUTH_VALUE_MAX bytes, or NULL: nobody asks for it */
	size_t len;
};

static bool value_add(struct value *v, char c)
{
	if (!v->to)
		return true;
	if (v->len + 1 >= AUTH_VALUE_MAX)
		return false;
	v->to[v->len++] = c;
	v->to[v->len] = '\0';
	return true;
}

/* The text behind the opening quote. Returns what follows the closing one, or NULL. */
static const char *read_quoted(const char *p, struct value *v)
{
	for (; *p != '"'; p++) {
		if (*p == '\\')
			p++;
		if (!is_text(*p) || !value_add(v, *p))
			return NULL;
	}
	return p + 1;
}

static const char *read_token(const char *p, struct value *v)
{
	const char *end = skip(p, TOKEN);

	if (end == p)
		return NULL;
	for (; p < end; p++)
		if (!value_add(v, *p))
			return NULL;
	return end;
}

/* Where the value of "name =" begins, or NULL when that is not what stands at p. */
static const char *param_value(const char *p)
{
	const char *end = skip(p, TOKEN);

	if (end == p)
		return NULL;
	end = skip(end, BLANK);
	return *end == '=' ? skip(end + 1, BLANK) : NULL;
}

static char *param_place(struct auth_challenge *c, const char *name)
{
	const struct {
		const char *name;
		char *to;
	} known[] = {
		{ "realm", c->realm },
		{ "service", c->service },
		{ "scope", c->scope },
		{ "error", c->error },
	};
	size_t len = strspn(name, TOKEN);

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (len == strlen(known[i].name) && strncasecmp(name, known[i].name, len) == 0)
			return known[i].to;
	return NULL;
}

/* Of two parameters with one name the last one counts, as in Docker. */
static const char *read_param(const char *p, const char *value, struct auth_challenge *c)
{
	struct value v = { .to = param_place(c, p) };

	if (v.to)
		*v.to = '\0';
	return *value == '"' ? read_quoted(value + 1, &v) : read_token(value, &v);
}

static const char *read_params(const char *p, struct auth_challenge *c)
{
	const char *value = param_value(p);

	if (!value)
		return NULL;
	for (;;) {
		p = read_param(p, value, c);
		if (!p)
			return NULL;
		p = skip(p, BLANK);
		if (*p != ',')
			return *p ? NULL : p;
		p = skip(p, BLANK ",");
		value = param_value(p);
		if (!value)
			return p;
	}
}

/* Behind a token68, which is all that its challenge has, or NULL when it is none. */
static const char *skip_token68(const char *p)
{
	const char *end = skip(p, TOKEN68);

	if (end == p)
		return NULL;
	end = skip(skip(end, "="), BLANK);
	return *end && *end != ',' ? NULL : end;
}

static enum auth_scheme scheme_of(const char *name, size_t len)
{
	if (len == 5 && strncasecmp(name, "Basic", len) == 0)
		return AUTH_BASIC;
	if (len == 6 && strncasecmp(name, "Bearer", len) == 0)
		return AUTH_BEARER;
	return AUTH_UNKNOWN;
}

static const char *read_challenge(const char *p, struct auth_challenge *c)
{
	const char *end = skip(p, TOKEN), *rest = skip(end, BLANK), *behind;

	if (end == p)
		return NULL;
	c->scheme = scheme_of(p, (size_t)(end - p));
	if (!*rest || *rest == ',')
		return rest;
	if (rest == end)
		return NULL;
	behind = skip_token68(rest);
	return behind ? behind : read_params(rest, c);
}

int auth_challenge_next(const char **at, struct auth_challenge *c)
{
	const char *p = skip(*at, BLANK ",");

	c->scheme = AUTH_UNKNOWN;
	*c->realm = *c->service = *c->scope = *c->error = '\0';
	if (!*p) {
		*at = p;
		return 0;
	}
	p = read_challenge(p, c);
	if (!p) {
		*at += strlen(*at);
		return -1;
	}
	*at = p;
	return 1;
}
