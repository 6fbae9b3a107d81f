// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/http_headers.h"

#include <string.h>
#include <strings.h>

enum { MEDIA_TYPE_MAX = 255 };

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, " \t");
}

/* Digits at *at, which moves behind them. */
static bool number(const char **at, uint64_t *n)
{
	const char *p = *at;

	*n = 0;
	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (*n > (INT64_MAX - digit) / 10)
			return false;
		*n = *n * 10 + digit;
	}
	if (p == *at)
		return false;
	*at = p;
	return true;
}

static bool character(const char **at, char c)
{
	if (**at != c)
		return false;
	++*at;
	return true;
}

static bool at_end(const char *p)
{
	return *skip_blanks(p) == '\0';
}

bool http_decimal(const char *value, uint64_t *n)
{
	const char *p = skip_blanks(value);

	return number(&p, n) && at_end(p);
}

bool http_content_range(const char *value, struct http_content_range *r)
{
	const char *p = skip_blanks(value);

	*r = (struct http_content_range){ 0 };
	if (strncasecmp(p, "bytes", 5) != 0 || (p[5] != ' ' && p[5] != '\t'))
		return false;
	p = skip_blanks(p + 5);
	if (!number(&p, &r->first) || !character(&p, '-') || !number(&p, &r->last) ||
		!character(&p, '/') || r->first > r->last)
		return false;
	if (character(&p, '*'))
		return at_end(p);
	r->total_known = true;
	return number(&p, &r->total) && at_end(p) && r->last < r->total;
}

bool http_upload_range(const char *value, uint64_t *received)
{
	const char *p = skip_blanks(value);
	uint64_t first, last;

	if (strncasecmp(p, "bytes=", 6) == 0)
		p += 6;
	if (!number(&p, &first) || first != 0 || !character(&p, '-') || !number(&p, &last) ||
		!at_end(p))
		return false;
	*received = last + 1; /* number() leaves room for it */
	return true;
}

/* RFC 9110, 5.6.2. */
static size_t token(const char *p)
{
	return strspn(p, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
			 "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

size_t http_media_type(const char *value, const char **start)
{
	const char *p = skip_blanks(value);
	size_t type = token(p), subtype;

	*start = p;
	if (!type || p[type] != '/')
		return 0;
	subtype = token(p + type + 1);
	p = skip_blanks(p + type + 1 + subtype);
	if (!subtype || (*p && *p != ';') || type + 1 + subtype > MEDIA_TYPE_MAX)
		return 0;
	return type + 1 + subtype;
}
