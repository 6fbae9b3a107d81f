// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * [domain "/"] component ("/" component)* [":" tag] ["@" digest]
 *
 * What stands before the first slash is a domain only when it could be no part of a name. Where
 * several things are wrong, the one that is said is the one that Docker says.
 */
#include "config.h"

#include "fmt/reference.h"

#include <stdbool.h>
#include <string.h>

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define HEX    DIGITS "abcdef"

#define OLD_DEFAULT_HOST "index.docker.io"
#define OFFICIAL	 "library/"

enum { NAME_MAX_LEN = 255, TAG_MAX_LEN = 128, DIGEST_MIN_HEX = 32, IDENTIFIER_LEN = 64 };

#define BAD_FORMAT  "invalid reference format"
#define UPPERCASE   "repository name must be lowercase"
#define TOO_LONG    "repository name must not be more than 255 characters"
#define IDENTIFIER  "invalid repository name, cannot specify 64-byte hexadecimal strings"
#define DIGEST_FORM "invalid checksum digest format"
#define DIGEST_LEN  "invalid checksum digest length"
#define DIGEST_ALGO "unsupported digest algorithm"

static int fail(struct fault *fault, const char *what, const char *text, const char *at)
{
	*fault = (struct fault){ .what = what, .offset = (uint64_t)(at - text) };
	return -1;
}

static bool is_literal(const char *s, size_t len, const char *literal)
{
	return len == strlen(literal) && memcmp(s, literal, len) == 0;
}

static bool has_any(const char *s, size_t len, const char *set)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] && strchr(set, s[i]))
			return true;
	return false;
}

/* How many of len bytes are of the set, from the first on. */
static size_t span(const char *s, size_t len, const char *set)
{
	size_t n = 0;

	while (n < len && s[n] && strchr(set, s[n]))
		n++;
	return n;
}

/* ---- host ---- */

static bool is_host(const char *s, size_t len)
{
	return is_literal(s, len, "localhost") || has_any(s, len, ".:" UPPER);
}

/* Names parted by dots; a dash neither begins nor ends one. */
static bool domain_name_is_valid(const char *s, size_t len)
{
	for (;;) {
		size_t n = span(s, len, LOWER UPPER DIGITS "-");

		if (n == 0 || s[0] == '-' || s[n - 1] == '-')
			return false;
		if (n == len)
			return true;
		if (s[n] != '.')
			return false;
		s += n + 1;
		len -= n + 1;
	}
}

static bool domain_is_valid(const char *s, size_t len)
{
	const char *port = len ? memrchr(s, ':', len) : NULL;
	const char *bracket = len ? memchr(s, ']', len) : NULL;
	size_t host = len;

	if (port && (!bracket || port > bracket)) {
		size_t digits = len - (size_t)(port + 1 - s);

		if (digits == 0 || span(port + 1, digits, DIGITS) != digits)
			return false;
		host = (size_t)(port - s);
	}
	if (!bracket)
		return domain_name_is_valid(s, host);
	return *s == '[' && s[host - 1] == ']' && host > 2 &&
	       span(s + 1, host - 2, HEX "ABCDEF:") == host - 2;
}

/* ---- path ---- */

/* Between letters and digits: one dot, one or two underscores, or dashes. 0: none of these. */
static size_t separator(const char *s, size_t len)
{
	size_t n = span(s, len, "._-");

	if (n <= 1 || is_literal(s, n, "__") || span(s, n, "-") == n)
		return n;
	return 0;
}

/* *at: where it stopped, on failure. */
static bool component_is_valid(const char *s, size_t len, const char *letters, const char **at)
{
	for (;;) {
		size_t n = span(s, len, letters), sep = n ? separator(s + n, len - n) : 0;

		*at = s + n;
		if (n && n == len)
			return true;
		if (n == 0 || sep == 0)
			return false;
		s += n + sep;
		len -= n + sep;
	}
}

static bool path_is_valid(const char *s, size_t len, const char **at)
{
	for (;;) {
		const char *slash = memchr(s, '/', len);
		size_t n = slash ? (size_t)(slash - s) : len;

		if (!component_is_valid(s, n, LOWER DIGITS, at))
			return false;
		if (!slash)
			return true;
		s += n + 1;
		len -= n + 1;
	}
}

/* ---- digest ---- */

/* algorithm ::= word ([-_+.] word)*, and at least 32 hex digits of any case */
static bool digest_is_well_formed(const char *s)
{
	for (;;) {
		size_t n = strspn(s, LOWER UPPER DIGITS);

		if (n == 0 || strchr(DIGITS, *s))
			return false;
		s += n;
		if (*s == ':')
			break;
		if (!*s || !strchr("-_+.", *s))
			return false;
		s++;
	}
	s++;
	return strspn(s, HEX "ABCDEF") == strlen(s) && strlen(s) >= DIGEST_MIN_HEX;
}

/* What opencontainers/go-digest has against a well-formed one, or NULL. */
static const char *digest_complaint(const char *s)
{
	static const struct {
		const char *name;
		size_t hex;
	} known[] = { { "sha256", 64 }, { "sha384", 96 }, { "sha512", 128 } };
	size_t n = strcspn(s, ":");
	const char *hex = s + n + 1;

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (!is_literal(s, n, known[i].name))
			continue;
		if (strlen(hex) != known[i].hex)
			return DIGEST_LEN;
		return strspn(hex, HEX) == known[i].hex ? NULL : DIGEST_FORM;
	}
	return has_any(s, n, UPPER) ? DIGEST_FORM : DIGEST_ALGO;
}

/* ---- the whole ---- */

const char *reference_split_host(struct reference *r, const char *text)
{
	size_t n = strcspn(text, "/");
	bool has_host = text[n] == '/' && is_host(text, n);
	const char *path = has_host ? text + n + 1 : text;

	*r = (struct reference){ .host = { text, n } };
	if (!has_host || is_literal(text, n, OLD_DEFAULT_HOST))
		r->host = (struct reference_part){ REFERENCE_DEFAULT_HOST,
			strlen(REFERENCE_DEFAULT_HOST) };
	if (is_literal(r->host.ptr, r->host.len, REFERENCE_DEFAULT_HOST) && !strchr(path, '/'))
		r->prefix = (struct reference_part){ OFFICIAL, strlen(OFFICIAL) };
	return path;
}

static int split_tail(struct reference *r, const char *tail, const char *text, struct fault *fault)
{
	if (*tail == ':') {
		size_t n = strspn(++tail, LOWER UPPER DIGITS "_.-");

		if (n == 0 || n > TAG_MAX_LEN || *tail == '.' || *tail == '-')
			return fail(fault, BAD_FORMAT, text, tail);
		r->tag = (struct reference_part){ tail, n };
		tail += n;
	}
	if (*tail == '@') {
		if (!digest_is_well_formed(++tail))
			return fail(fault, BAD_FORMAT, text, tail);
		r->digest = (struct reference_part){ tail, strlen(tail) };
		tail += r->digest.len;
	}
	return *tail ? fail(fault, BAD_FORMAT, text, tail) : 0;
}

/*
 * Docker takes a host that cannot be one for a part of the name, where that could be one, and
 * misses the lower case in it, or goes on to look at the digest. Nobody can be asked at such a
 * host, so here it is a fault in the end.
 */
static int check_host(const struct reference *r, const char *text, struct fault *fault)
{
	const char *s = r->host.ptr, *at;
	size_t len = r->host.len;

	if (domain_is_valid(s, len) || component_is_valid(s, len, LOWER DIGITS, &at))
		return 0;
	if (component_is_valid(s, len, LOWER UPPER DIGITS, &at))
		return fail(fault, UPPERCASE, text, text);
	return fail(fault, BAD_FORMAT, text, text);
}

static int check(const struct reference *r, const char *text, struct fault *fault)
{
	const char *complaint = r->digest.ptr ? digest_complaint(r->digest.ptr) : NULL;

	if (r->host.len + 1 + r->prefix.len + r->path.len > NAME_MAX_LEN)
		return fail(fault, TOO_LONG, text, r->path.ptr);
	if (complaint)
		return fail(fault, complaint, text, r->digest.ptr);
	return domain_is_valid(r->host.ptr, r->host.len) ? 0 : fail(fault, BAD_FORMAT, text, text);
}

int reference_parse(struct reference *r, const char *text, struct fault *fault)
{
	const char *path, *at;

	*r = (struct reference){ 0 };
	if (strlen(text) == IDENTIFIER_LEN && strspn(text, HEX) == IDENTIFIER_LEN)
		return fail(fault, IDENTIFIER, text, text);
	path = reference_split_host(r, text);
	if (has_any(path, strcspn(path, ":"), UPPER))
		return fail(fault, BAD_FORMAT ": " UPPERCASE, text, path + strcspn(path, UPPER));
	r->path = (struct reference_part){ path, strcspn(path, ":@") };
	if (!path_is_valid(path, r->path.len, &at))
		return fail(fault, BAD_FORMAT, text, at);
	if (split_tail(r, path + r->path.len, text, fault) < 0 || check_host(r, text, fault) < 0)
		return -1;
	return check(r, text, fault);
}
