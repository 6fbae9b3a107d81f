// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/www_authenticate.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "tests/unit/tap.h"

/* All challenges as "scheme realm|service|scope|error;", and "!" when it cannot be read on. */
static char *read_all(const char *header)
{
	static const char *const schemes[] = { "unknown", "basic", "bearer" };
	char *all = xstrdup("");
	struct auth_challenge c;
	int rc;

	while ((rc = auth_challenge_next(&header, &c)) > 0) {
		char *more = xasprintf("%s%s %s|%s|%s|%s;", all, schemes[c.scheme], c.realm,
			c.service, c.scope, c.error);

		free(all);
		all = more;
	}
	if (rc < 0) {
		char *more = xasprintf("%s!", all);

		free(all);
		all = more;
	}
	CHECK_STR(header, "");
	CHECK(auth_challenge_next(&header, &c) == 0);
	return all;
}

static bool reads(const char *header, const char *want)
{
	CLEANUP_FREE char *got = read_all(header);

	if (strcmp(got, want) != 0)
		printf("# %s: %s\n", header, got);
	return strcmp(got, want) == 0;
}

static void what_registries_send_is_read(void)
{
	CHECK(reads("Basic realm=\"Registry Realm\"", "basic Registry Realm|||;"));
	CHECK(reads("Bearer realm=\"https://auth.example/token\",service=\"registry.example\","
		    "scope=\"repository:team/app:pull,push\"",
		"bearer https://auth.example/token|registry.example|"
		"repository:team/app:pull,push|;"));
	CHECK(reads(
		"Bearer realm=\"https://a.example/t\",service=\"a\",scope=\"repository:x:pull\","
		"error=\"invalid_token\"",
		"bearer https://a.example/t|a|repository:x:pull|invalid_token;"));
	CHECK(reads("BASIC REALM=x", "basic x|||;"));
	CHECK(reads("bEARER Service=s", "bearer |s||;"));
}

static void an_empty_header_has_no_challenge(void)
{
	CHECK(reads("", ""));
	CHECK(reads(" \t", ""));
	CHECK(reads(" , ,,", ""));
}

static void quoted_strings_may_hold_commas_quotes_and_backslashes(void)
{
	CHECK(reads("Basic realm=\"a, b\"", "basic a, b|||;"));
	CHECK(reads("Basic realm=\"say \\\"hi\\\" \\\\ \\x\"", "basic say \"hi\" \\ x|||;"));
	CHECK(reads("Basic realm=\"\"", "basic |||;"));
	CHECK(reads("Basic realm=\"\xc3\xa4\t=\"", "basic \xc3\xa4\t=|||;"));
	CHECK(reads("Basic realm=\"Bearer realm=x\"", "basic Bearer realm=x|||;"));
}

static void several_challenges_share_a_header(void)
{
	CHECK(reads("Basic realm=\"a\", Bearer realm=\"b\",service=c", "basic a|||;bearer b|c||;"));
	CHECK(reads("Bearer service=s, realm=r, Basic realm=x", "bearer r|s||;basic x|||;"));
	CHECK(reads("Basic, Bearer realm=b", "basic |||;bearer b|||;"));
	CHECK(reads("Basic realm=a,,, ,Basic realm=b,", "basic a|||;basic b|||;"));
}

static void unknown_schemes_are_stepped_over(void)
{
	CHECK(reads("Negotiate, Basic realm=a", "unknown |||;basic a|||;"));
	CHECK(reads("Digest realm=\"Bearer x\", nonce=\"a,b\", qop=\"auth\", Basic realm=a",
		"unknown Bearer x|||;basic a|||;"));
	CHECK(reads("Basicx realm=a", "unknown a|||;"));
	CHECK(reads("Bear realm=a", "unknown a|||;"));
}

static void unknown_parameters_are_stepped_over(void)
{
	CHECK(reads("Basic charset=\"UTF-8\", realm=a, realmx=b, real=c", "basic a|||;"));
}

static void a_token68_is_stepped_over(void)
{
	CHECK(reads("Negotiate YIIabc+/==, Basic realm=a", "unknown |||;basic a|||;"));
	CHECK(reads("NTLM abc", "unknown |||;"));
	CHECK(reads("Bearer a.b~c/d=", "bearer |||;"));
	CHECK(reads("Negotiate abc== \t, Basic realm=a", "unknown |||;basic a|||;"));
}

static void blanks_may_stand_where_the_rfc_lets_them(void)
{
	CHECK(reads(" \t Bearer \t realm \t=\t \"a\" \t,\t service = b ", "bearer a|b||;"));
	CHECK(reads("Basic ,Bearer realm=b", "basic |||;bearer b|||;"));
	CHECK(reads("Basic   ", "basic |||;"));
}

static void of_two_values_the_last_one_counts(void)
{
	CHECK(reads("Bearer realm=aaa,realm=b", "bearer b|||;"));
	CHECK(reads("Bearer scope=\"long\",scope=\"\"", "bearer |||;"));
}

static void what_cannot_be_read_ends_the_header(void)
{
	static const char *const bad[] = { "=", "\"", "Basic=x", "Basic realm=\"a",
		"Basic realm=\"a\\", "Basic realm=\"a\"x", "Basic realm=\"a\" service=\"b\"",
		"Bearer realm=a service=b", "Bearer realm=\"a\"\"b\"", "Bearer realm=https://a",
		"Bearer a b", "Bearer \"a\"", "Basic realm=\"a\n\"", "Basic realm=\"\x7f\"",
		"Basic realm=\"\\\x01\"", "B\xc3\xa4sic realm=a",
		"Basic realm=\"a\"; Bearer realm=b", "(comment) Basic realm=a", "Basic realm==a" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK(reads(bad[i], "!"));
	CHECK(reads("Basic realm=a, Bearer realm=\"b", "basic a|||;!"));
	CHECK(reads("Bearer realm=,service=x", "bearer |||;!")); /* "realm=" is a token68 */
	CHECK(reads("Basic realm=a, =", "basic a|||;!"));
}

/* "Basic realm=VALUE" with a value of that length. */
static int length_is_read(size_t len, bool quoted, struct auth_challenge *c)
{
	CLEANUP_FREE char *value = xzalloc(len + 1), *header = NULL;
	const char *at;

	memset(value, 'v', len);
	header = xasprintf("Basic realm=%s%s%s", quoted ? "\"" : "", value, quoted ? "\"" : "");
	at = header;
	return auth_challenge_next(&at, c);
}

static void values_that_are_too_long_are_refused(void)
{
	struct auth_challenge c;

	for (int quoted = 0; quoted < 2; quoted++) {
		CHECK(length_is_read(AUTH_VALUE_MAX - 1, quoted, &c) == 1);
		CHECK_U64(strlen(c.realm), AUTH_VALUE_MAX - 1);
		CHECK(length_is_read(AUTH_VALUE_MAX, quoted, &c) == -1);
		CHECK(length_is_read(1 << 20, quoted, &c) == -1);
	}
}

int main(void)
{
	RUN(what_registries_send_is_read);
	RUN(an_empty_header_has_no_challenge);
	RUN(quoted_strings_may_hold_commas_quotes_and_backslashes);
	RUN(several_challenges_share_a_header);
	RUN(unknown_schemes_are_stepped_over);
	RUN(unknown_parameters_are_stepped_over);
	RUN(a_token68_is_stepped_over);
	RUN(blanks_may_stand_where_the_rfc_lets_them);
	RUN(of_two_values_the_last_one_counts);
	RUN(what_cannot_be_read_ends_the_header);
	RUN(values_that_are_too_long_are_refused);
	return tap_done();
}
