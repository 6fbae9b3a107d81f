// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "cmd/cmd.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/verify/check.h"
#include "lib/verify/parts.h"

static const char *platform;

static const struct cmd_option options[] = {
	{ .name = "platform",
		.arg = "OS/ARCH[/VARIANT]",
		.string = &platform,
		.help = "which image of several (default: this machine's)" },
	{ 0 },
};

static json_t *result_as_json(const struct check_result *r)
{
	json_t *faults = json_array();

	for (size_t i = 0; i < r->n_faults; i++)
		json_array_append_new(faults, json_string(r->faults[i]));
	return json_pack("{s:b, s:o, s:I, s:I, s:I, s:I, s:I}", "ok", r->n_faults == 0, "faults",
		faults, "blobs", (json_int_t)r->blobs, "bytes", (json_int_t)r->bytes, "inodes",
		(json_int_t)r->tree.inodes, "files", (json_int_t)r->tree.files, "directories",
		(json_int_t)r->tree.directories);
}

static int print_result(const struct check_result *r)
{
	char bytes[TEXT_NUMBER_MAX], files[TEXT_NUMBER_MAX], dirs[TEXT_NUMBER_MAX];

	if (cmd_common.json)
		return cmd_print_json(result_as_json(r));
	if (r->n_faults)
		printf("FAILED: %zu fault%s\n", r->n_faults, r->n_faults == 1 ? "" : "s");
	else
		printf("OK: %zu blobs (%s), %s files, %s directories\n", r->blobs,
			text_bytes(r->bytes, bytes), text_count(r->tree.files, files),
			text_count(r->tree.directories, dirs));
	return cmd_flush();
}

/* What could not be checked is not in order, in JSON as well. */
static int fail(struct error *e)
{
	if (cmd_common.json)
		cmd_print_json(json_pack("{s:b, s:[s]}", "ok", 0, "faults", e->msg));
	return cmd_fail(e);
}

static int run(int argc, char **argv)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	CLEANUP_CHECK_RESULT struct check_result result = { 0 };
	struct platform wanted;
	struct error *err = NULL;
	int status;

	if (platform && platform_parse(&wanted, platform, &err) < 0)
		return cmd_usage_error(&verb_check, err);
	src = parts_open_image(argv[0], platform ? &wanted : NULL, &err);
	if (!src || check_image(&result, src, &err) < 0)
		return fail(err);
	for (size_t i = 0; i < result.n_faults; i++)
		log_error("%s: %s", argv[0], result.faults[i]);
	status = print_result(&result);
	return result.n_faults ? CMD_FAILED : status;
}

const struct verb verb_check = {
	.name = "check",
	.synopsis = "[options] IMAGE",
	.summary = "Read every byte of a converted image back and verify it.",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
