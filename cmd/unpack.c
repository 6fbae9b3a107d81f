// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* unpack: a converted image, back as files or as a tar. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/registry_options.h"
#include "cmd/work.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/image/parts.h"
#include "lib/unpack/unpack.h"

static const char *platform;
static uint64_t jobs;

static const struct cmd_option options[] = {
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

/* What `to` names: standard output, a tar by its ending, else a directory. */
enum target { TO_STDOUT, TO_TAR, TO_DIR };

static enum target target_of(const char *to)
{
	size_t len = strlen(to);
	struct stat st;

	if (!strcmp(to, "-"))
		return TO_STDOUT;
	if (len < 4 || strcmp(to + len - 4, ".tar") != 0)
		return TO_DIR;
	return stat(to, &st) == 0 && S_ISDIR(st.st_mode) ? TO_DIR : TO_TAR;
}

/* What is missing, as "5 devices, 1,234 owners"; the caller frees it. */
static char *left_out_text(const struct unpack_result *r)
{
	const struct {
		uint64_t n;
		const char *one, *many;
	} kinds[] = {
		{ r->left_out.owners, "owner", "owners" },
		{ r->left_out.devices, "device", "devices" },
		{ r->left_out.sockets, "socket", "sockets" },
		{ r->left_out.xattrs, "xattr", "xattrs" },
		{ r->left_out.modes, "mode", "modes" },
		{ r->left_out.times, "modification time", "modification times" },
	};
	char *text = NULL, n[TEXT_NUMBER_MAX];
	const char *between = "";
	size_t size;
	FILE *f = open_memstream(&text, &size);

	for (size_t i = 0; f && i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (!kinds[i].n)
			continue;
		fprintf(f, "%s%s %s", between, text_count(kinds[i].n, n),
			kinds[i].n == 1 ? kinds[i].one : kinds[i].many);
		between = ", ";
	}
	if (f)
		fclose(f);
	return text;
}

static json_t *left_out_as_json(const struct unpack_result *r)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "owners", (json_int_t)r->left_out.owners,
		"devices", (json_int_t)r->left_out.devices, "sockets",
		(json_int_t)r->left_out.sockets, "xattrs", (json_int_t)r->left_out.xattrs, "modes",
		(json_int_t)r->left_out.modes, "modificationTimes", (json_int_t)r->left_out.times);
}

static int print_result(
	const struct image_source *src, const struct unpack_result *r, enum target target)
{
	CLEANUP_FREE char *left_out = left_out_text(r);
	char digest[DIGEST_MAX_STR];
	json_t *json;

	if (left_out && *left_out)
		log_warn("left out, as %s: %s",
			target == TO_DIR ? "the system does not allow them to this user or on "
					   "this filesystem"
					 : "a tar cannot hold them",
			left_out);
	if (!cmd_common.json)
		return cmd_flush();
	json = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "manifest",
		digest_format(&src->manifest_digest, digest), "files", (json_int_t)r->tree.files,
		"directories", (json_int_t)r->tree.directories, "symlinks",
		(json_int_t)r->tree.symlinks, "others", (json_int_t)r->tree.others, "hardLinks",
		(json_int_t)r->tree.hard_links, "logicalBytes", (json_int_t)r->tree.logical_bytes,
		"leftOut", left_out_as_json(r));
	if (target == TO_TAR)
		json_object_set_new(json, "tarBytes", json_integer((json_int_t)r->tar_bytes));
	return cmd_print_json(json);
}

static int unpack(struct image_source *src, const char *to, enum target target,
	struct unpack_result *result, struct error **err)
{
	const struct unpack_options o = { .jobs = work_jobs(jobs), .progress = work_progress() };

	switch (target) {
	case TO_STDOUT:
		return unpack_to_stream(src, STDOUT_FILENO, &o, result, err);
	case TO_TAR:
		return unpack_to_tar(src, to, &o, result, err);
	default:
		return unpack_to_dir(src, to, &o, result, err);
	}
}

static int fail(struct error *e)
{
	int status = cmd_fail(e);

	interrupt_die();
	return status;
}

static int run(int argc, char **argv)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	enum target target = target_of(argv[1]);
	struct registry_options registry;
	struct unpack_result result;
	struct platform wanted;
	struct error *err = NULL;

	(void)argc;
	if (platform && platform_parse(&wanted, platform, &err) < 0)
		return cmd_usage_error(&verb_unpack, err);
	if (target == TO_STDOUT && cmd_common.json)
		return cmd_usage(&verb_unpack, "--json and the tar cannot both go to stdout");
	if (target == TO_STDOUT && isatty(STDOUT_FILENO))
		return cmd_usage(&verb_unpack, "a tar is not for a terminal: redirect stdout");
	if (registry_options_get(&verb_unpack, REGISTRY_ONLY, &registry) != CMD_DONE)
		return CMD_USAGE;
	work_raise_file_limit();
	interrupt_catch();
	src = parts_open_image(argv[0], &registry, platform ? &wanted : NULL, &err);
	if (!src || unpack(src, argv[1], target, &result, &err) < 0)
		return fail(err);
	return print_result(src, &result, target);
}

const struct verb verb_unpack = {
	.name = "unpack",
	.synopsis = "[options] IMAGE DIR|FILE.tar|-",
	.summary = "Write the tree of a converted image back, as files or as a tar.",
	.options = options,
	.group = &registry_options_one,
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
