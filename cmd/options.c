// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "cmd/options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"

struct cmd_common cmd_common = { .progress = "auto" };

static bool want_help, want_version;

static const struct cmd_option common_options[] = {
	{ "json", 0, NULL, "print the result as JSON", &cmd_common.json },
	{ "quiet", 'q', NULL, "print no progress and no warnings", &cmd_common.quiet },
	{ "debug", 0, NULL, "say on stderr what is done and why", &cmd_common.debug },
	{ "progress", 0, "auto|plain|none", "how progress is shown (default: auto)", NULL,
		&cmd_common.progress },
	{ "help", 'h', NULL, "show this help", &want_help },
	{ "version", 'V', NULL, "show the version", &want_version },
	{ 0 },
};

int cmd_fail(struct error *e)
{
	if (e->hint)
		log_error("%s (try: %s)", e->msg, e->hint);
	else
		log_error("%s", e->msg);
	error_free(e);
	return CMD_FAILED;
}

int cmd_usage(const struct verb *verb, const char *fmt, ...)
{
	CLEANUP_FREE char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	log_error("%s; see `erofs-convert %s --help`", text, verb->name);
	return CMD_USAGE;
}

int cmd_usage_error(const struct verb *verb, struct error *e)
{
	int status = cmd_usage(verb, "%s", e->msg);

	error_free(e);
	return status;
}

int cmd_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CMD_DONE;
	log_error("cannot write to standard output: %s", strerror(errno));
	return CMD_FAILED;
}

int cmd_print_json(json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
	return cmd_flush();
}

static char *option_head(const struct cmd_option *o)
{
	if (o->boolean)
		return xasprintf("--%s[=%s]", o->name, o->arg);
	return xasprintf("--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
}

static void help_options(const struct cmd_option *o)
{
	for (; o && o->name; o++) {
		CLEANUP_FREE char *head = option_head(o);

		if (o->letter)
			printf("  -%c, %-28s %s\n", o->letter, head, o->help);
		else
			printf("      %-28s %s\n", head, o->help);
	}
}

static int print_help(const struct verb *verb)
{
	printf("Usage: erofs-convert %s %s\n%s\n\n", verb->name, verb->synopsis, verb->summary);
	help_options(verb->options);
	help_options(common_options);
	if (verb->group) {
		printf("\n%s:\n", verb->group->heading);
		help_options(verb->group->options);
	}
	return cmd_flush();
}

static int parse_number(const struct verb *verb, const struct cmd_option *o, const char *arg)
{
	static const char suffixes[] = "KMG";
	const char *suffix;
	char *end;
	uint64_t v, unit = 1;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (*end && (suffix = strchr(suffixes, *end)) && !end[1]) {
		unit = UINT64_C(1) << (10 * (suffix - suffixes + 1));
		end++;
	}
	if (errno || end == arg || *end || *arg < '0' || *arg > '9' || v > UINT64_MAX / unit ||
		v * unit < o->min || v * unit > o->max)
		return cmd_usage(verb,
			"--%s takes a number from %" PRIu64 " to %" PRIu64 ", not \"%s\"", o->name,
			o->min, o->max, arg);
	*o->number = v * unit;
	return CMD_DONE;
}

/* The words of Go's ParseBool(), which are those of other tools for images. */
static int parse_boolean(const struct verb *verb, const struct cmd_option *o, const char *arg)
{
	static const char *const words[2][6] = { { "0", "f", "F", "false", "FALSE", "False" },
		{ "1", "t", "T", "true", "TRUE", "True" } };

	for (size_t i = 0; i < 12; i++)
		if (strcmp(arg, words[i / 6][i % 6]) == 0) {
			*o->boolean = (int)(i / 6);
			return CMD_DONE;
		}
	return cmd_usage(verb, "--%s takes true or false, not \"%s\"", o->name, arg);
}

/* What ps(1) shows of a process is this memory itself. */
static const char *hide(char *arg)
{
	const char *copy = xstrdup(arg);

	explicit_bzero(arg, strlen(arg));
	return copy;
}

static int take_option(const struct verb *verb, const struct cmd_option *o, char *arg)
{
	if (o->flag)
		*o->flag = true;
	else if (o->boolean)
		return parse_boolean(verb, o, arg ? arg : "true");
	else if (o->secret)
		*o->string = hide(arg);
	else if (o->string)
		*o->string = arg;
	else
		return parse_number(verb, o, arg);
	return CMD_DONE;
}

/* All options of the verb and the common ones: as getopt_long() wants them. */
struct option_set {
	const struct cmd_option *of[64];
	struct option longs[65];
	char shorts[192];
	size_t n;
};

enum { LONG_BASE = 256 };

static int argument_kind(const struct cmd_option *o)
{
	if (o->boolean)
		return optional_argument;
	return o->arg ? required_argument : no_argument;
}

static void add_options(struct option_set *set, const struct cmd_option *o)
{
	for (; o && o->name && set->n < 64; o++) {
		size_t len = strlen(set->shorts);

		set->of[set->n] = o;
		set->longs[set->n] =
			(struct option){ o->name, argument_kind(o), NULL, LONG_BASE + (int)set->n };
		set->n++;
		if (!o->letter)
			continue;
		set->shorts[len++] = o->letter;
		if (o->arg)
			set->shorts[len++] = ':';
	}
}

static const struct cmd_option *find_option(const struct option_set *set, int c)
{
	if (c >= LONG_BASE)
		return set->of[c - LONG_BASE];
	for (size_t i = 0; i < set->n; i++)
		if (set->of[i]->letter == c)
			return set->of[i];
	return NULL;
}

static int parse_options(const struct verb *verb, int argc, char **argv)
{
	struct option_set set = { .shorts = ":" };
	int c;

	add_options(&set, verb->options);
	add_options(&set, common_options);
	if (verb->group)
		add_options(&set, verb->group->options);
	while ((c = getopt_long(argc, argv, set.shorts, set.longs, NULL)) != -1) {
		const struct cmd_option *o = find_option(&set, c);
		int status;

		if (!o && c == ':')
			return cmd_usage(verb, "%s needs an argument", argv[optind - 1]);
		if (!o && optopt && optopt < LONG_BASE)
			return cmd_usage(verb, "unknown option -%c", optopt);
		if (!o) /* its value may be a secret */
			return cmd_usage(verb, "unknown or malformed option %.*s",
				(int)strcspn(argv[optind - 1], "="), argv[optind - 1]);
		status = take_option(verb, o, optarg);
		if (status != CMD_DONE)
			return status;
	}
	return CMD_DONE;
}

static int check_common(const struct verb *verb)
{
	if (strcmp(cmd_common.progress, "auto") && strcmp(cmd_common.progress, "plain") &&
		strcmp(cmd_common.progress, "none"))
		return cmd_usage(verb, "--progress takes auto, plain or none, not \"%s\"",
			cmd_common.progress);
	if (cmd_common.debug)
		log_set_level(LOG_DEBUG);
	else if (cmd_common.quiet)
		log_set_level(LOG_QUIET);
	return CMD_DONE;
}

int options_run(const struct verb *verb, int argc, char **argv)
{
	int status = parse_options(verb, argc, argv);

	if (status != CMD_DONE)
		return status;
	if (want_help)
		return print_help(verb);
	if (want_version) {
		printf("erofs-convert " PACKAGE_VERSION "\n");
		return cmd_flush();
	}
	status = check_common(verb);
	if (status != CMD_DONE)
		return status;
	argc -= optind;
	argv += optind;
	if (argc < verb->min_args)
		return cmd_usage(verb, "too few arguments: %s %s", verb->name, verb->synopsis);
	if (argc > verb->max_args)
		return cmd_usage(verb, "too many arguments, from \"%s\" on", argv[verb->max_args]);
	return verb->run(argc, argv);
}
