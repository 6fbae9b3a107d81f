// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* push: a converted image into a registry, unchanged. */
#include "config.h"

#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/registry_options.h"
#include "cmd/sides.h"
#include "cmd/work.h"
#include "lib/base/interrupt.h"
#include "lib/image/push.h"

static const char *platform, *mount_from, *digestfile;
static bool all;

static const struct cmd_option options[] = {
	{ .name = "platform",
		.arg = "OS/ARCH[/VARIANT]",
		.string = &platform,
		.help = "which image of an index (default: this machine's)" },
	{ .name = "all", .flag = &all, .help = "the index with everything that it lists" },
	{ .name = "all-platforms", .flag = &all, .help = "the same as --all" },
	SIDES_OPTION_MOUNT_FROM(mount_from),
	SIDES_OPTION_DIGESTFILE(digestfile),
	{ 0 },
};

static int push(const struct sides *s, const struct platform *wanted, struct digest *digest,
	struct upload_amount *amount, struct error **err)
{
	CLEANUP_IMAGE_DEST struct image_dest *dest = sides_open_dest(s, mount_from, err);

	if (!dest || image_push(&s->source, wanted, all, dest, digest, err) < 0)
		return -1;
	image_dest_amount(dest, amount);
	return sides_write_digest(digestfile, digest, err);
}

static int print_result(
	const struct sides *s, const struct digest *digest, const struct upload_amount *amount)
{
	char manifest[DIGEST_MAX_STR];

	digest_format(digest, manifest);
	if (cmd_common.json)
		return cmd_print_json(json_pack("{s:s, s:o}", "manifest", manifest, "upload",
			sides_upload_as_json(s, amount)));
	printf("%s\n", manifest);
	return cmd_flush();
}

static int run(int argc, char **argv)
{
	CLEANUP_SIDES struct sides s = { 0 };
	struct upload_amount amount;
	struct platform wanted;
	struct digest digest;
	struct error *err = NULL;
	int status;

	(void)argc;
	if (platform && platform_parse(&wanted, platform, &err) < 0)
		return cmd_usage_error(&verb_push, err);
	if (platform && all)
		return cmd_usage(&verb_push, "--platform and --all exclude each other");
	status = sides_get(&s, &verb_push, argv, mount_from);
	if (status != CMD_DONE)
		return status;
	if (s.dest.transport != TRANSPORT_DOCKER)
		return cmd_usage(
			&verb_push, "the destination of push is docker://REF, not %s", s.dest.spec);
	work_raise_file_limit();
	interrupt_catch();
	if (push(&s, platform ? &wanted : NULL, &digest, &amount, &err) < 0) {
		status = cmd_fail(err);
		interrupt_die();
		return status;
	}
	return print_result(&s, &digest, &amount);
}

const struct verb verb_push = {
	.name = "push",
	.synopsis = "[options] SOURCE docker://REF",
	.summary = "Store a converted image in a registry, sending only what it lacks.",
	.options = options,
	.group = &registry_options_push,
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
