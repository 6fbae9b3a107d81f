// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/mount_lazily.h"
#include "cmd/registry_options.h"
#include "cmd/work.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/privilege.h"
#include "lib/base/text.h"
#include "lib/mount/mount.h"
#include "lib/mount/mountable.h"
#include "lib/mount/writable.h"
#include "lib/verify/parts.h"

static const char *platform, *upper, *store, *transport = "auto", *prefetch;
static struct registry_options registry;
static uint64_t jobs, store_limit;
static bool rw, foreground;

static const struct cmd_option options[] = {
	{ .name = "rw", .flag = &rw, .help = "a writable tree; umount drops what was changed" },
	{ .name = "upper",
		.arg = "DIR",
		.string = &upper,
		.help = "with --rw: keep what is changed in DIR" },
	{ .name = "transport",
		.arg = "auto|fuse",
		.string = &transport,
		.help = "fuse: mount now, fetch what is read (default: auto)" },
	{ .name = "prefetch",
		.arg = "none|background|all",
		.string = &prefetch,
		.help = "what is fetched unasked by fuse (default: background)" },
	{ .name = "foreground", .flag = &foreground, .help = "with fuse: stay, and serve" },
	{ .name = "store",
		.arg = "DIR",
		.string = &store,
		.help = "where data is kept, uncompressed (default: /var/lib/erofs-convert)" },
	{ .name = "store-limit",
		.arg = "BYTES",
		.number = &store_limit,
		.max = INT64_MAX,
		.help = "what the store may take; evicts for it what nobody uses (default: the "
			"disk)" },
	{ .name = "jobs",
		.letter = 'j',
		.arg = "N",
		.number = &jobs,
		.min = 1,
		.max = WORK_JOBS_MAX,
		.help = "threads to inflate with (default: one for each processor)" },
	{ .name = "platform",
		.arg = "OS/ARCH[/VARIANT]",
		.string = &platform,
		.help = "which image of several (default: this machine's)" },
	{ 0 },
};

/* A path may hold any bytes; a line and JSON may not. */
static json_t *json_path(const char *path)
{
	CLEANUP_FREE char *printable = NULL;
	json_t *json = json_string(path);

	if (json)
		return json;
	printable = text_printable(path, strlen(path));
	return json_string(printable);
}

static json_t *list_as_json(const struct mount_info *list, size_t n)
{
	json_t *mounts = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(mounts,
			json_pack("{s:o, s:o, s:b}", "mountpoint", json_path(list[i].mountpoint),
				"source", json_path(list[i].source), "writable", list[i].writable));
	return mounts;
}

static int list_mounts(void)
{
	struct mount_info *list = NULL;
	struct error *err = NULL;
	json_t *json = NULL;
	size_t n = 0;

	if (mount_list(&list, &n, &err) < 0)
		return cmd_fail(err);
	if (cmd_common.json)
		json = list_as_json(list, n);
	else if (!n)
		log_info("no EROFS image is mounted");
	for (size_t i = 0; !json && i < n; i++) {
		CLEANUP_FREE char *where =
			text_printable(list[i].mountpoint, strlen(list[i].mountpoint));
		CLEANUP_FREE char *source = text_printable(list[i].source, strlen(list[i].source));

		printf("%s\t%s%s\n", where, source, list[i].writable ? "\twritable" : "");
	}
	mount_list_free(list, n);
	return json ? cmd_print_json(json) : cmd_flush();
}

static int print_mounted(const struct image_source *src, const char *mountpoint)
{
	char digest[DIGEST_MAX_STR];

	if (!cmd_common.json)
		return CMD_DONE;
	return cmd_print_json(json_pack("{s:s, s:o, s:b}", "manifest",
		digest_format(&src->manifest_digest, digest), "mountpoint", json_path(mountpoint),
		"writable", rw));
}

static int mount_files(const struct mountable *files, const char *mountpoint, struct error **err)
{
	const struct mount_request request = { .bootstrap = files->bootstrap,
		.devices = files->devices,
		.n_devices = files->n_devices,
		.mountpoint = mountpoint,
		.writable = rw,
		.upper = upper,
		.digest = &files->digest,
		.opened = mountable_check,
		.arg = files };

	if (!rw)
		return mount_image(&request, err);
	if (writable_check(files->tree, err) < 0)
		return -1;
	return mount_image(&request, err);
}

static int fail(struct error *err)
{
	int status = cmd_fail(err);

	interrupt_die();
	return status;
}

static int mount_by_kernel(const char *image, const struct platform *wanted, const char *mountpoint)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	CLEANUP_MOUNTABLE struct mountable files = { 0 };
	const struct mountable_options how = { .store = store,
		.store_limit = store_limit,
		.inflate = { .jobs = work_jobs(jobs), .progress = work_progress() } };
	struct error *err = NULL;

	src = parts_open_image(image, NULL, wanted, &err);
	if (!src)
		return fail(err);
	if (mount_check(mountpoint, &err) < 0) {
		error_wrap(&err, "%s", image);
		return fail(err);
	}
	if (mountable_find(&files, src, &how, &err) < 0)
		return fail(err);
	if (mount_files(&files, mountpoint, &err) < 0) {
		error_wrap(&err, "%s", image);
		return fail(err);
	}
	return print_mounted(src, mountpoint);
}

/* CMD_DONE, with what the options ask for, or CMD_USAGE. */
static int read_prefetch(enum prefetch *how)
{
	*how = PREFETCH_BACKGROUND;
	if (!prefetch || !strcmp(prefetch, "background"))
		return CMD_DONE;
	*how = PREFETCH_NONE;
	if (!strcmp(prefetch, "none"))
		return CMD_DONE;
	*how = PREFETCH_ALL;
	if (!strcmp(prefetch, "all"))
		return CMD_DONE;
	return cmd_usage(&verb_mount, "--prefetch is none, background or all, not %s", prefetch);
}

/*
 * The kernel reads local files at full speed; everything else is a process of ours: for who is not
 * root, for what is far away, and for who wants to begin before all is there.
 */
static int choose_transport(const char *image, enum prefetch how, bool *fuse)
{
	bool lazy = foreground || (prefetch && how != PREFETCH_ALL);

	if (!strcmp(transport, "fanotify") || !strcmp(transport, "fuse-device") ||
		!strcmp(transport, "cachefiles"))
		return cmd_usage(&verb_mount,
			"this version has no transport %s: there are auto and fuse", transport);
	*fuse = !strcmp(transport, "fuse");
	if (!*fuse && strcmp(transport, "auto") != 0)
		return cmd_usage(&verb_mount, "--transport is auto or fuse, not %s", transport);
	if (rw && (*fuse || lazy))
		return cmd_usage(&verb_mount, "--rw needs the kernel's EROFS: a mount by fuse, "
					      "which --prefetch and --foreground are for, is "
					      "read-only");
	if (!*fuse && !rw)
		*fuse = lazy || !strncmp(image, "docker:", 7) || !privilege_is_full_root();
	log_debug("%s is mounted %s", image, *fuse ? "by fuse" : "by the kernel's EROFS");
	return CMD_DONE;
}

static int mount_it(const char *image, const char *mountpoint)
{
	struct lazy_mount lazy = { .image = image,
		.mountpoint = mountpoint,
		.store = store,
		.store_limit = store_limit,
		.registry = &registry,
		.foreground = foreground,
		.mounted = print_mounted };
	struct platform wanted;
	struct error *err = NULL;
	bool fuse = false;

	if (platform && platform_parse(&wanted, platform, &err) < 0)
		return cmd_usage_error(&verb_mount, err);
	lazy.platform = platform ? &wanted : NULL;
	if (read_prefetch(&lazy.prefetch) != CMD_DONE ||
		choose_transport(image, lazy.prefetch, &fuse) != CMD_DONE ||
		registry_options_get(&verb_mount, REGISTRY_ONLY, &registry) != CMD_DONE)
		return CMD_USAGE;
	work_raise_file_limit(); /* each blob of the store is held open */
	interrupt_catch(); /* what is made on disk does not stay because of Ctrl-C */
	return fuse ? mount_lazily(&lazy) : mount_by_kernel(image, lazy.platform, mountpoint);
}

static int run(int argc, char **argv)
{
	if (upper && !rw)
		return cmd_usage(&verb_mount, "--upper is for writable mounts: add --rw");
	if (rw && !argc)
		return cmd_usage(&verb_mount, "--rw needs an image and a mount point");
	if (argc == 1)
		return cmd_usage(&verb_mount, "no mount point given for %s", argv[0]);
	return argc ? mount_it(argv[0], argv[1]) : list_mounts();
}

const struct verb verb_mount = {
	.name = "mount",
	.synopsis = "[options] IMAGE MOUNTPOINT",
	.summary = "Mount a converted image, or list what is mounted.",
	.options = options,
	.group = &registry_options_one,
	.min_args = 0,
	.max_args = 2,
	.run = run,
};
