// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/daemons.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"

static const char *socket_path;

static const struct cmd_option options[] = {
	{ .name = "socket",
		.arg = "PATH",
		.string = &socket_path,
		.help = "ask this daemon alone (default: the system's, and those of mounts)" },
	{ 0 },
};

static uint64_t number(const json_t *object, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(object, name));

	return n > 0 ? (uint64_t)n : 0;
}

static const char *string(const json_t *object, const char *name)
{
	const char *s = json_string_value(json_object_get(object, name));

	return s && *s ? s : "-";
}

/* Others than who looks have said what they asked for: nothing in it reaches the terminal as it is.
 */
static char *shown(const json_t *object, const char *name)
{
	const char *s = string(object, name);

	return text_printable(s, strlen(s));
}

static void print_line(const char *label, const json_t *object)
{
	CLEANUP_FREE char *value = shown(object, label);

	printf("  %-10s %s\n", label, value);
}

static void print_counts(const json_t *m)
{
	char cached[TEXT_NUMBER_MAX], all[TEXT_NUMBER_MAX], requests[TEXT_NUMBER_MAX],
		errors[TEXT_NUMBER_MAX];
	uint64_t have = number(m, "cached"), total = have + number(m, "missing");

	printf("  %-10s %s of %s", "cached", text_bytes(have, cached), text_bytes(total, all));
	if (total)
		printf(" (%.0f %%)", 100.0 * (double)have / (double)total);
	printf("\n  %-10s %s, %.1f %% of them without waiting; %s errors; %.3f s waited\n",
		"requests", text_count(number(m, "requests"), requests),
		100.0 * json_number_value(json_object_get(m, "hitRatio")),
		text_count(number(m, "errors"), errors),
		json_number_value(json_object_get(m, "waitedSeconds")));
}

static void print_mount(const json_t *m)
{
	CLEANUP_FREE char *mountpoint = shown(m, "mountpoint");

	printf("%s\n", mountpoint);
	print_line("image", m);
	print_line("manifest", m);
	print_line("transport", m);
	print_line("state", m);
	print_counts(m);
}

static void print_store(const json_t *status)
{
	const json_t *s = json_object_get(status, "store");
	uint64_t limit = number(s, "limit");
	char text[TEXT_NUMBER_MAX];

	if (!s)
		return;
	printf("store %s, %s\n", string(s, "dir"), limit ? text_bytes(limit, text) : "no limit");
}

static int print_status(const json_t *status)
{
	const json_t *mounts = json_object_get(status, "mounts");
	const json_t *m;
	size_t i;

	print_store(status);
	json_array_foreach(mounts, i, m) print_mount(m);
	if (!json_array_size(mounts))
		log_info("nothing is mounted by a daemon");
	return cmd_flush();
}

static int run(int argc, char **argv)
{
	struct error *err = NULL;
	json_auto_t *status = daemons_status(socket_path, &err);

	(void)argc;
	(void)argv;
	if (!status && !err) {
		error_set(&err, 0, "no daemon is running");
		error_hint(&err, "`erofs-convert serve`, or a mount, which starts one");
	}
	if (!status)
		return cmd_fail(err);
	if (cmd_common.json)
		return cmd_print_json(json_incref(status));
	return print_status(status);
}

const struct verb verb_status = {
	.name = "status",
	.synopsis = "[options]",
	.summary = "Show what daemons serve: mounts, what is cached, how it goes.",
	.options = options,
	.min_args = 0,
	.max_args = 0,
	.run = run,
};
