// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Errors as sentences, digests as OCI writes them. */
#include "config.h"

#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "tests/unit/tap.h"

#include <errno.h>

static void an_error_is_what_was_said(void)
{
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(error_set(&err, 0, "size is %d", -3) == -1);
	CHECK_STR(err->msg, "size is -3");
	CHECK_U64(err->code, 0);
	CHECK(!err->hint);
}

static void a_code_ends_the_sentence_with_its_text(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	char want[256];

	CHECK(error_set(&err, ENOSPC, "cannot write %s", "x") == -1);
	snprintf(want, sizeof(want), "cannot write x: %s", strerror(ENOSPC));
	CHECK_STR(err->msg, want);
	CHECK_U64(err->code, ENOSPC);
}

static void wraps_read_outermost_first(void)
{
	CLEANUP_ERROR struct error *err = NULL;

	error_set(&err, EIO, "size is negative");
	free(err->msg);
	err->msg = strdup("size is negative");
	CHECK(error_wrap(&err, "etc/passwd") == -1);
	CHECK(error_wrap(&err, "layer %d", 3) == -1);
	CHECK_STR(err->msg, "layer 3: etc/passwd: size is negative");
	CHECK_U64(err->code, EIO);
}

static void the_hint_nearest_to_the_fault_stays(void)
{
	CLEANUP_ERROR struct error *err = NULL;

	error_set(&err, 0, "no");
	CHECK(error_hint(&err, "try %s", "this") == -1);
	CHECK(error_hint(&err, "try that") == -1);
	CHECK_STR(err->hint, "try this");
	CHECK_STR(err->msg, "no");
}

static void percent_signs_in_arguments_stay(void)
{
	CLEANUP_ERROR struct error *err = NULL;

	error_set(&err, 0, "%s", "100%s%n");
	error_wrap(&err, "%s", "%d");
	CHECK_STR(err->msg, "%d: 100%s%n");
}

static void freeing_no_error_is_allowed(void)
{
	error_free(NULL);
}

static const char abc256[] =
	"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char abc512[] =
	"sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

static void digests_of_abc_are_those_of_the_standard(void)
{
	char buf[DIGEST_MAX_STR];
	struct digest d;

	digest_of(&d, DIGEST_SHA256, "abc", 3);
	CHECK_STR(digest_format(&d, buf), abc256);
	CHECK_STR(digest_hex(&d, buf), abc256 + 7);
	digest_of(&d, DIGEST_SHA512, "abc", 3);
	CHECK_STR(digest_format(&d, buf), abc512);
	CHECK_STR(digest_hex(&d, buf), abc512 + 7);
	CHECK_U64(digest_size(DIGEST_SHA256), 32);
	CHECK_U64(digest_size(DIGEST_SHA512), 64);
}

static void a_running_digest_equals_that_of_the_whole(void)
{
	struct digest whole, pieces;
	struct hasher *h = hasher_new(DIGEST_SHA512);

	digest_of(&whole, DIGEST_SHA512, "a longer text", 13);
	hasher_update(h, "a lo", 4);
	hasher_update(h, "", 0);
	hasher_update(h, "nger text", 9);
	hasher_final(h, &pieces);
	hasher_free(h);
	hasher_free(NULL);
	CHECK(digest_equal(&whole, &pieces));
}

static bool parses(const char *s)
{
	CLEANUP_ERROR struct error *err = NULL;
	char buf[DIGEST_MAX_STR];
	struct digest d;

	if (digest_parse(&d, s, &err) < 0) {
		CHECK(err && err->msg && *err->msg);
		return false;
	}
	CHECK(!err);
	CHECK_STR(digest_format(&d, buf), s);
	return true;
}

static void registered_forms_of_digests_are_read(void)
{
	CHECK(parses(abc256));
	CHECK(parses(abc512));
}

static void other_forms_of_digests_are_refused(void)
{
	char s[300];

	CHECK(!parses(""));
	CHECK(!parses("sha256"));
	CHECK(!parses("sha256:"));
	CHECK(!parses(abc256 + 7));
	CHECK(!parses("md5:d41d8cd98f00b204e9800998ecf8427e"));
	snprintf(s, sizeof(s), "%s0", abc256);
	CHECK(!parses(s));
	snprintf(s, sizeof(s), "%s", abc256);
	s[strlen(s) - 1] = '\0';
	CHECK(!parses(s));
	for (const char *bad = "ABCDEFgG/:@` \n-"; *bad; bad++) {
		snprintf(s, sizeof(s), "%s", abc256);
		s[20] = *bad;
		CHECK(!parses(s));
	}
	snprintf(s, sizeof(s), "SHA256:%s", abc256 + 7);
	CHECK(!parses(s));
	snprintf(s, sizeof(s), "sha512:%s", abc256 + 7);
	CHECK(!parses(s));
	snprintf(s, sizeof(s), " %s", abc256);
	CHECK(!parses(s));
}

static void digests_of_two_kinds_are_never_equal(void)
{
	struct digest a = { .algo = DIGEST_SHA256 }, b = { .algo = DIGEST_SHA512 };

	CHECK(!digest_equal(&a, &b));
	b.algo = DIGEST_SHA256;
	CHECK(digest_equal(&a, &b));
	b.bytes[31] = 1;
	CHECK(!digest_equal(&a, &b));
}

int main(void)
{
	RUN(an_error_is_what_was_said);
	RUN(a_code_ends_the_sentence_with_its_text);
	RUN(wraps_read_outermost_first);
	RUN(the_hint_nearest_to_the_fault_stays);
	RUN(percent_signs_in_arguments_stay);
	RUN(freeing_no_error_is_allowed);
	RUN(digests_of_abc_are_those_of_the_standard);
	RUN(a_running_digest_equals_that_of_the_whole);
	RUN(registered_forms_of_digests_are_read);
	RUN(other_forms_of_digests_are_refused);
	RUN(digests_of_two_kinds_are_never_equal);
	return tap_done();
}
