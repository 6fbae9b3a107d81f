// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "cmd/cmd.h"
#include "cmd/daemons.h"
#include "lib/mount/mount.h"

static const char *socket_path;

static const struct cmd_option options[] = {
	{ .name = "socket",
		.arg = "PATH",
		.string = &socket_path,
		.help = "the daemon that serves it (default: the system's, or the mount's own)" },
	{ 0 },
};

static int run(int argc, char **argv)
{
	struct error *err = NULL;

	if (umount_image(argv[0], &err) < 0)
		return cmd_fail(err);
	daemons_reap(socket_path);
	if (cmd_common.json)
		return cmd_print_json(json_object());
	return CMD_DONE;
}

const struct verb verb_umount = {
	.name = "umount",
	.synopsis = "MOUNTPOINT",
	.summary = "Unmount what `erofs-convert mount` mounted.",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
