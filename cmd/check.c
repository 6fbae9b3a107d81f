// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* check: is an image whole, and the same tree as its source? */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/registry_options.h"
#include "cmd/work.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/image/parts.h"
#include "lib/verify/check.h"

static const char *platform, *against;
static struct registry_options registry;
static uint64_t jobs;

static const struct cmd_option options[] = {
	{ .name = "against",
		.arg = "SOURCE",
		.string = &against,
		.help = "compare with the image of tar layers that it was made from" },
	{ .name = "platform",
		.arg = "OS/ARCH[/VARIANT]",
		.string = &platform,
		.help = "which image of several (default: this machine's)" },
	{ .name = "jobs",
		.letter = 'j',
		.arg = "N",
		.number = &jobs,
		.min = 1,
		.max = WORK_JOBS_MAX,
		.help = "threads to use (default: one for each processor)" },
	{ 0 },
};

static json_t *faults_as_json(const struct faults *f)
{
	json_t *array = json_array();

	for (size_t i = 0; i < f->n; i++)
		json_array_append_new(array, json_string(f->of[i]));
	return array;
}

static bool is_ok(const struct check_result *r)
{
	return !r->faults.total && !r->differences.total;
}

static json_t *result_as_json(const struct check_result *r)
{
	json_t *json = json_pack("{s:b, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "ok", is_ok(r),
		"faults", faults_as_json(&r->faults), "faultCount", (json_int_t)r->faults.total,
		"blobs", (json_int_t)r->blobs, "bytes", (json_int_t)r->bytes, "inodes",
		(json_int_t)r->tree.inodes, "files", (json_int_t)r->tree.files, "directories",
		(json_int_t)r->tree.directories);

	if (r->compared) {
		json_object_set_new(json, "differences", faults_as_json(&r->differences));
		json_object_set_new(
			json, "differenceCount", json_integer((json_int_t)r->differences.total));
	}
	return json;
}

static void print_lines(const char *image, const struct faults *f, const char *what)
{
	char count[TEXT_NUMBER_MAX];

	for (size_t i = 0; i < f->n; i++)
		log_error("%s: %s", image, f->of[i]);
	if (f->total > f->n)
		log_error("%s: %s more %s are not shown", image, text_count(f->total - f->n, count),
			what);
}

static void print_failure(const struct check_result *r)
{
	char faults[TEXT_NUMBER_MAX], differences[TEXT_NUMBER_MAX];

	printf("FAILED: %s fault%s", text_count(r->faults.total, faults),
		r->faults.total == 1 ? "" : "s");
	if (r->compared)
		printf(", %s difference%s from the source",
			text_count(r->differences.total, differences),
			r->differences.total == 1 ? "" : "s");
	putchar('\n');
}

static int print_result(const struct check_result *r)
{
	char bytes[TEXT_NUMBER_MAX], files[TEXT_NUMBER_MAX], dirs[TEXT_NUMBER_MAX];

	if (cmd_common.json)
		return cmd_print_json(result_as_json(r));
	if (!is_ok(r))
		print_failure(r);
	else
		printf("OK: %zu blobs (%s), %s files, %s directories%s\n", r->blobs,
			text_bytes(r->bytes, bytes), text_count(r->tree.files, files),
			text_count(r->tree.directories, dirs),
			r->compared ? "; the same tree as the source" : "");
	return cmd_flush();
}

/* What could not be checked is not in order, in JSON as well. */
static int fail(const struct check_result *r, const char *image, struct error *e)
{
	print_lines(image, &r->faults, "faults");
	print_lines(image, &r->differences, "differences");
	if (cmd_common.json && !interrupt_pending()) {
		json_t *faults = faults_as_json(&r->faults);

		json_array_append_new(faults, json_string(e->msg));
		cmd_print_json(json_pack("{s:b, s:o}", "ok", 0, "faults", faults));
	}
	return cmd_fail(e);
}

static int check(const char *image, const struct platform *wanted, struct check_result *result,
	struct error **err)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src =
		parts_open_image(image, &registry, wanted, err);
	CLEANUP_IMAGE_SOURCE struct image_source *source = NULL;
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };
	struct check_options o = { .jobs = work_jobs(jobs), .progress = work_progress() };

	if (!src)
		return -1;
	if (against) {
		if (image_ref_parse(&ref, against, err) < 0)
			return -1;
		ref.registry = &registry;
		source = image_source_open(&ref, wanted, err);
		if (!source)
			return -1;
		o.against = source;
	}
	return check_image(result, src, &o, err);
}

static int run(int argc, char **argv)
{
	CLEANUP_CHECK_RESULT struct check_result result = { 0 };
	struct platform wanted;
	struct error *err = NULL;
	int status;

	if (platform && platform_parse(&wanted, platform, &err) < 0)
		return cmd_usage_error(&verb_check, err);
	if (registry_options_get(&verb_check, REGISTRY_ONLY, &registry) != CMD_DONE)
		return CMD_USAGE;
	work_raise_file_limit();
	interrupt_catch();
	if (check(argv[0], platform ? &wanted : NULL, &result, &err) < 0) {
		status = fail(&result, argv[0], err);
		interrupt_die();
		return status;
	}
	print_lines(argv[0], &result.faults, "faults");
	print_lines(argv[0], &result.differences, "differences");
	status = print_result(&result);
	return is_ok(&result) ? status : CMD_FAILED;
}

const struct verb verb_check = {
	.name = "check",
	.synopsis = "[options] IMAGE",
	.summary = "Read every byte of a converted image back and verify it.",
	.options = options,
	.group = &registry_options_one,
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
