// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Option tables, those of registries above all. Each parse is a process of its own. */
#include "config.h"

#include "cmd/options.h"

#include <sys/wait.h>

#include "cmd/registry_options.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

#define SECRET "hunter2hunter2"

static bool two_sided;
static int run(int argc, char **argv);
static bool loud;
static uint64_t number = 7;

static const struct cmd_option own[] = {
	{ .name = "loud", .letter = 'l', .flag = &loud, .help = "an option of the verb's own" },
	{ .name = "number", .arg = "N", .number = &number, .max = 100, .help = "another" },
	{ 0 },
};
static const struct verb verb_one = { .name = "one",
	.synopsis = "[options] IMAGE",
	.summary = "Test.",
	.options = own,
	.group = &registry_options_one,
	.max_args = 9,
	.run = run };
static const struct verb verb_two = { .name = "two",
	.synopsis = "[options] SOURCE DEST",
	.summary = "Test.",
	.options = own,
	.group = &registry_options_two,
	.max_args = 9,
	.run = run };

static const char *or_dash(const char *s)
{
	return s ? s : "-";
}

static void print_side(const struct registry_options *o)
{
	printf("%s %s %s %s%s %s %s %u;", or_dash(o->credentials.authfile),
		or_dash(o->credentials.creds), or_dash(o->credentials.registry_token),
		o->credentials.no_creds ? "anonymous " : "", o->tls_verify ? "verify" : "trust",
		o->plain_http ? "http" : "https", or_dash(o->cert_dir), o->retries);
}

/* What ps(1) would show of us. */
static void print_process_list(void)
{
	CLEANUP_FCLOSE FILE *f = fopen("/proc/self/cmdline", "r");
	int c;

	while (f && (c = getc(f)) != EOF)
		putchar(c ? c : ' ');
}

static int run(int argc, char **argv)
{
	const struct verb *verb = two_sided ? &verb_two : &verb_one;
	struct registry_options o;

	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "ps") == 0) {
			print_process_list();
			return CMD_DONE;
		}
	for (int side = two_sided ? REGISTRY_SOURCE : REGISTRY_ONLY;
		side <= (two_sided ? REGISTRY_DEST : REGISTRY_ONLY); side++) {
		int status = registry_options_get(verb, (enum registry_side)side, &o);

		if (status != CMD_DONE)
			return status;
		print_side(&o);
	}
	return CMD_DONE;
}

/*
 * Both outputs of "one ARGS" or "two ARGS", and the exit status. It is this program again, so that
 * the arguments are where the kernel looks for them.
 */
static char *output_of(const char *verb, const char *args, int *status)
{
	CLEANUP_FREE char *command =
		xasprintf("exec 2>&1; /proc/%d/exe %s %s", getpid(), verb, args);
	char *text = xzalloc(1 << 16);
	FILE *f = popen(command, "r");
	size_t n = f ? fread(text, 1, (1 << 16) - 1, f) : 0;

	text[n] = '\0';
	*status = f ? WEXITSTATUS(pclose(f)) : -1;
	return text;
}

static bool gives(const char *verb, const char *args, const char *want)
{
	int status;
	CLEANUP_FREE char *got = output_of(verb, args, &status);

	if (status == CMD_DONE && strcmp(got, want) == 0)
		return true;
	printf("# %s %s: %d %s\n", verb, args, status, got);
	return false;
}

static bool is_misuse(const char *verb, const char *args, const char *words)
{
	int status;
	CLEANUP_FREE char *got = output_of(verb, args, &status);

	if (status == CMD_USAGE && strstr(got, words) && !strstr(got, SECRET))
		return true;
	printf("# %s %s: %d %s\n", verb, args, status, got);
	return false;
}

static void one_side_takes_the_options_as_they_are(void)
{
	CHECK(gives("one", "", "- - - verify https - 3;"));
	CHECK(gives("one", "--authfile=f --creds u:p --cert-dir d --plain-http --retry-times 9",
		"f u:p - verify http d 9;"));
	CHECK(gives("one", "--no-creds --retry-times=0 -l --number 8 x",
		"- - - anonymous verify https - 0;"));
	CHECK(gives("one", "--registry-token t", "- - t verify https - 3;"));
	CHECK(is_misuse("one", "--src-creds u:p", "unknown or malformed option --src-creds"));
}

static void two_sides_have_their_own(void)
{
	CHECK(gives("two", "", "- - - verify https - 3;- - - verify https - 3;"));
	CHECK(gives("two", "--src-creds a:1 --dest-creds b:2",
		"- a:1 - verify https - 3;- b:2 - verify https - 3;"));
	CHECK(gives("two",
		"--src-no-creds --dest-registry-token t --src-cert-dir d --dest-plain-http",
		"- - - anonymous verify https d 3;- - t verify http - 3;"));
	CHECK(is_misuse("two", "--creds u:p", "unknown or malformed option --creds"));
}

static void what_is_given_for_both_is_for_the_side_without_its_own(void)
{
	CHECK(gives("two", "--authfile f --dest-authfile g --tls-verify=false --src-tls-verify",
		"f - - verify https - 3;g - - trust https - 3;"));
	CHECK(gives("two", "--retry-times 5 --src-retry-times 0",
		"- - - verify https - 0;- - - verify https - 5;"));
}

static void booleans_are_those_of_go(void)
{
	CHECK(gives("one", "--tls-verify=0", "- - - trust https - 3;"));
	CHECK(gives("one", "--tls-verify=False", "- - - trust https - 3;"));
	CHECK(gives("one", "--tls-verify=false --tls-verify=T", "- - - verify https - 3;"));
	CHECK(gives("one", "--tls-verify=f --tls-verify false", "- - - verify https - 3;"));
	CHECK(is_misuse("one", "--tls-verify=no", "--tls-verify takes true or false, not \"no\""));
	CHECK(is_misuse("one", "--tls-verify=", "takes true or false"));
}

static void contradictions_are_named(void)
{
	CHECK(is_misuse("one", "--no-creds --creds u:" SECRET,
		"--no-creds and --creds exclude each other"));
	CHECK(is_misuse("two", "--dest-no-creds --dest-registry-token " SECRET,
		"--dest-no-creds and --dest-registry-token exclude each other"));
	CHECK(is_misuse("two", "--src-creds=u:" SECRET " --src-registry-token " SECRET,
		"--src-creds and --src-registry-token exclude each other"));
	CHECK(is_misuse("one", "--creds :" SECRET, "the user is missing"));
	CHECK(is_misuse("one", "--creds ''", "the user is missing"));
	CHECK(is_misuse("one", "--registry-token ''", "is empty"));
}

static void a_mistyped_option_does_not_show_its_value(void)
{
	CHECK(is_misuse("one", "--cerds=u:" SECRET, "malformed option --cerds;"));
	CHECK(is_misuse("one", "--no-creds=" SECRET, "malformed option --no-creds;"));
}

static bool hides(const char *verb, const char *args)
{
	int status;
	CLEANUP_FREE char *got = output_of(verb, args, &status);

	if (status == CMD_DONE && strstr(got, " ps") && !strstr(got, "hunter"))
		return true;
	printf("# %s %s: %d %s\n", verb, args, status, got);
	return false;
}

static void secrets_leave_the_process_list(void)
{
	CHECK(hides("one", "--creds u:" SECRET " ps"));
	CHECK(hides("one", "ps --creds=u:" SECRET));
	CHECK(hides("one", "--cred u:" SECRET " ps"));
	CHECK(hides("one", "--registry-token " SECRET " ps"));
	CHECK(hides("two", "--src-creds u:" SECRET " --dest-registry-token=" SECRET " ps"));
}

static void a_missing_password_without_a_terminal_is_a_misuse(void)
{
	CHECK(is_misuse("one", "--creds u </dev/null", "the password of u is missing"));
}

static void the_help_has_a_heading_for_registries(void)
{
	int status;
	CLEANUP_FREE char *one = output_of("one", "--help", &status);
	CLEANUP_FREE char *two = output_of("two", "--help", &status);
	const char *heading = strstr(one, "\nRegistry options:\n");

	CHECK(heading && strstr(heading, "  --creds USER[:PASS] ") &&
		strstr(heading, "  --tls-verify[=BOOL] "));
	CHECK(heading && strstr(one, "--loud") < heading && strstr(one, "--debug") < heading);
	CHECK(strstr(two, "--dest-creds USER[:PASS] ") && !strstr(two, " --creds"));
}

/* As a child: no terminal, or the missing password would be asked for. */
static int be_verb(int argc, char **argv)
{
	setsid();
	two_sided = strcmp(argv[1], "two") == 0;
	return options_run(two_sided ? &verb_two : &verb_one, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return be_verb(argc, argv);
	RUN(one_side_takes_the_options_as_they_are);
	RUN(two_sides_have_their_own);
	RUN(what_is_given_for_both_is_for_the_side_without_its_own);
	RUN(booleans_are_those_of_go);
	RUN(contradictions_are_named);
	RUN(a_mistyped_option_does_not_show_its_value);
	RUN(secrets_leave_the_process_list);
	RUN(a_missing_password_without_a_terminal_is_a_misuse);
	RUN(the_help_has_a_heading_for_registries);
	return tap_done();
}
