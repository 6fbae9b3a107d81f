/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Unit tests that speak TAP. A test is a function; its name in the plan is a sentence about
 * behaviour. A failing check prints what it expected and what it saw, and the test goes on.
 *
 *	static void empty_input_is_refused(void) { CHECK(...); CHECK_U64(got, 3); }
 *	int main(void) { RUN(empty_input_is_refused); return tap_done(); }
 *
 * One test alone: TEST_ONLY=part_of_its_name tests/unit/NAME_test
 */
#ifndef TESTS_UNIT_TAP_H
#define TESTS_UNIT_TAP_H

#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_number, tap_failed_tests, tap_failed_checks;

static inline bool tap_check(bool ok, const char *file, int line, const char *what)
{
	if (!ok) {
		tap_failed_checks++;
		printf("# %s:%d: expected %s\n", file, line, what);
	}
	return ok;
}

static inline bool tap_check_u64(
	uint64_t got, uint64_t want, const char *file, int line, const char *what)
{
	if (got != want) {
		tap_failed_checks++;
		printf("# %s:%d: %s: expected %" PRIu64 " (0x%" PRIx64 "), saw %" PRIu64
		       " (0x%" PRIx64 ")\n",
			file, line, what, want, want, got, got);
	}
	return got == want;
}

static inline bool tap_check_str(
	const char *got, const char *want, const char *file, int line, const char *what)
{
	bool ok = got && want && strcmp(got, want) == 0;

	if (!ok) {
		tap_failed_checks++;
		printf("# %s:%d: %s: expected \"%s\", saw \"%s\"\n", file, line, what,
			want ? want : "(null)", got ? got : "(null)");
	}
	return ok;
}

static inline void tap_run(void (*test)(void), const char *name)
{
	const char *only = getenv("TEST_ONLY");
	char sentence[256];

	if (only && !strstr(name, only))
		return;
	signal(SIGINT, SIG_DFL); /* a shell's background job has it ignored */
	snprintf(sentence, sizeof(sentence), "%s", name);
	for (char *c = sentence; *c; c++)
		if (*c == '_')
			*c = ' ';
	tap_failed_checks = 0;
	test();
	tap_failed_tests += tap_failed_checks > 0;
	printf("%s %d - %s\n", tap_failed_checks ? "not ok" : "ok", ++tap_number, sentence);
	fflush(stdout);
}

static inline void tap_skip(const char *name, const char *why)
{
	const char *only = getenv("TEST_ONLY");

	if (!only || strstr(name, only))
		printf("ok %d - %s # SKIP %s\n", ++tap_number, name, why);
}

static inline int tap_done(void)
{
	printf("1..%d\n", tap_number);
	return tap_failed_tests > 0;
}

#define CHECK(cond)	     tap_check((cond), __FILE__, __LINE__, #cond)
#define CHECK_U64(got, want) tap_check_u64((got), (want), __FILE__, __LINE__, #got)
#define CHECK_STR(got, want) tap_check_str((got), (want), __FILE__, __LINE__, #got)
#define RUN(test)	     tap_run(test, #test)
#define RUN_IF(cond, test, why)               \
	do {                                  \
		if (cond)                     \
			RUN(test);            \
		else                          \
			tap_skip(#test, why); \
	} while (0)

#endif
