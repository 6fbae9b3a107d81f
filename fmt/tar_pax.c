// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <string.h>

#include "fmt/tar.h"

int tar_decimal(struct tar_span text, int64_t *value)
{
	bool negative = text.len && *text.p == '-';
	size_t i = negative || (text.len && *text.p == '+');
	uint64_t v = 0, limit = (uint64_t)INT64_MAX + negative;

	if (i == text.len)
		return -1;
	for (; i < text.len; i++) {
		unsigned digit = (unsigned char)text.p[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) ||
			__builtin_add_overflow(v, digit, &v))
			return -1;
	}
	if (v > limit)
		return -1;
	*value = (int64_t)(negative ? -v : v);
	return 0;
}

/* At most nine digits of a fraction, as nanoseconds; all of it must be digits. */
static int fraction(const char *p, size_t len, uint32_t *nsec)
{
	uint32_t v = 0;

	for (size_t i = 0; i < len; i++)
		if (p[i] < '0' || p[i] > '9')
			return -1;
	for (size_t i = 0; i < 9; i++)
		v = v * 10 + (i < len ? (uint32_t)(p[i] - '0') : 0);
	*nsec = v;
	return 0;
}

int pax_time(struct tar_span text, int64_t *sec, uint32_t *nsec)
{
	const char *dot = memchr(text.p, '.', text.len);
	struct tar_span whole = { text.p, dot ? (size_t)(dot - text.p) : text.len };

	*nsec = 0;
	if (tar_decimal(whole, sec) < 0)
		return -1;
	if (dot && fraction(dot + 1, text.len - whole.len - 1, nsec) < 0)
		return -1;
	/* -1.25 is 1.25 seconds before 1970: second -2, and three quarters. */
	if (*nsec && *text.p == '-') {
		*sec = (int64_t)((uint64_t)*sec - 1);
		*nsec = 1000000000 - *nsec;
	}
	return 0;
}

static bool span_is(struct tar_span s, const char *text, size_t len)
{
	return s.len == len && memcmp(s.p, text, len) == 0;
}

#define SPAN_IS(s, text) span_is(s, text, sizeof(text) - 1)

static enum pax_key sparse_key(struct tar_span s)
{
	static const struct {
		const char *name;
		enum pax_key key;
	} keys[] = {
		{ "major", PAX_SPARSE_MAJOR },
		{ "minor", PAX_SPARSE_MINOR },
		{ "name", PAX_SPARSE_NAME },
		{ "size", PAX_SPARSE_SIZE },
		{ "realsize", PAX_SPARSE_REALSIZE },
		{ "numblocks", PAX_SPARSE_NUMBLOCKS },
		{ "map", PAX_SPARSE_MAP },
		{ "offset", PAX_SPARSE_OFFSET },
		{ "numbytes", PAX_SPARSE_NUMBYTES },
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (span_is(s, keys[i].name, strlen(keys[i].name)))
			return keys[i].key;
	return PAX_OTHER;
}

static enum pax_key plain_key(struct tar_span s)
{
	switch (s.len) {
	case 3:
		return SPAN_IS(s, "uid") ? PAX_UID : SPAN_IS(s, "gid") ? PAX_GID : PAX_OTHER;
	case 4:
		return SPAN_IS(s, "path") ? PAX_PATH : SPAN_IS(s, "size") ? PAX_SIZE : PAX_OTHER;
	case 5:
		return SPAN_IS(s, "mtime")   ? PAX_MTIME
		       : SPAN_IS(s, "atime") ? PAX_ATIME
		       : SPAN_IS(s, "ctime") ? PAX_CTIME
					     : PAX_OTHER;
	case 8:
		return SPAN_IS(s, "linkpath") ? PAX_LINKPATH : PAX_OTHER;
	}
	return PAX_OTHER;
}

/* Say what the keyword means, and of an attribute cut the prefix off. */
static enum pax_key key_of(struct tar_span *name)
{
	static const char xattr[] = "SCHILY.xattr.", sparse[] = "GNU.sparse.";
	const size_t xattr_len = sizeof(xattr) - 1, sparse_len = sizeof(sparse) - 1;

	if (name->len >= xattr_len && memcmp(name->p, xattr, xattr_len) == 0) {
		*name = (struct tar_span){ name->p + xattr_len, name->len - xattr_len };
		return PAX_XATTR;
	}
	if (name->len > sparse_len && memcmp(name->p, sparse, sparse_len) == 0)
		return sparse_key(
			(struct tar_span){ name->p + sparse_len, name->len - sparse_len });
	return plain_key(*name);
}

/* Strings end at a NUL elsewhere, so these must have none; other values may hold any bytes. */
static bool value_is_text(const struct pax_record *r)
{
	return r->key == PAX_PATH || r->key == PAX_LINKPATH || SPAN_IS(r->name, "uname") ||
	       SPAN_IS(r->name, "gname");
}

static int refuse_record(struct fault *fault, const char *what, size_t pos)
{
	*fault = (struct fault){ what, pos };
	return -1;
}

/* What lies between the length and the newline: KEYWORD=VALUE. */
static const char *split_record(const char *p, size_t len, struct pax_record *r)
{
	const char *eq = memchr(p, '=', len);

	if (!eq)
		return "PAX record has no '='";
	r->name = (struct tar_span){ p, (size_t)(eq - p) };
	r->value = (struct tar_span){ eq + 1, len - r->name.len - 1 };
	if (r->name.len == 0)
		return "PAX record has no keyword";
	if (memchr(p, 0, r->name.len))
		return "PAX keyword has a NUL byte in it";
	r->key = key_of(&r->name);
	if (value_is_text(r) && memchr(r->value.p, 0, r->value.len))
		return "PAX record for a name has a NUL byte in it";
	return NULL;
}

int pax_next(struct tar_span body, size_t *pos, struct pax_record *r, struct fault *fault)
{
	const char *start = body.p + *pos, *space, *what;
	size_t left = body.len - *pos, digits;
	int64_t len;

	if (left == 0)
		return 0;
	space = memchr(start, ' ', left);
	if (!space)
		return refuse_record(fault, "PAX record has no length", *pos);
	digits = (size_t)(space - start);
	/* The shortest is "5 a=\n". The length counts its own digits, too. */
	if (tar_decimal((struct tar_span){ start, digits }, &len) < 0 || len < 5)
		return refuse_record(fault, "PAX record has a bad length", *pos);
	if ((uint64_t)len > left || (uint64_t)len <= digits + 1)
		return refuse_record(fault, "PAX record has a bad length", *pos);
	if (start[len - 1] != '\n')
		return refuse_record(fault, "PAX record does not end in a newline", *pos);
	what = split_record(space + 1, (size_t)len - digits - 2, r);
	if (what)
		return refuse_record(fault, what, *pos);
	*pos += (size_t)len;
	return 1;
}
